"""A process of its own for a call, there at once: a fork has everything that this process has imported."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path


class Child:
    """A call under way in a process and a session of its own, what it prints in a file.

    Args:
        call: ends the process with its exit status; None is 0.
        output: the file.
        environment: set in the process beforehand.
    """

    def __init__(
        self, call: Callable[[], int | None], output: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.output = output
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.setsid()
                # A shell that starts the tests in the background has them ignore interrupts, and they hand that on.
                signal.signal(signal.SIGINT, signal.default_int_handler)
                stream = output.open("w")
                sys.stdout = sys.stderr = stream
                os.environ.update(environment or {})
                status = call() or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)

    def wait(self, seconds: float = 120) -> int:
        """The exit status, or less than zero the signal that ended it."""
        deadline = time.monotonic() + seconds
        while True:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"it did not end in time:\n{self.output.read_text()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it and all that it has started."""
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
