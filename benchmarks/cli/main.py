"""The command line: ``python -m benchmarks``.

The commands themselves are in ``commands``, whose imports take seconds; the list of them appears at once.
"""

from __future__ import annotations

import gc
import importlib
import io
import sys
from types import ModuleType

import click

from benchmarks.machine.errors import INTERRUPTED, UserError
from datasets.errors import DataError
from methods.errors import UnknownMethodError

SUMMARIES = {
    "list": "Papers, their experiments and the data sets that these are defined on.",
    "data": "Fetch, verify and decode data sets (suites or single domains).",
    "plan": "What `run` would do, and how long it may take.  Changes nothing.",
    "run": "Run the cells of a paper's experiments that have no record yet.",
    "reproduce": "Get the data, run what is missing and write the tables.",
    "compare": "Compare methods on a data set, and say which one to use.",
    "predict": "Classify image files, or all in folders, with a kept network.",
    "status": "Cells done, committed, missing and failed, per experiment and data set.",
    "export": "Merge everything run here into the committed tables under results/.",
    "rerun": "Run committed cells again and print the old and the new values.",
    "audit": "Run all committed cells again, or some drawn at random, and say which results differ.",
    "decide": "Run the replicates that results/replicates.csv asks for, and merge them into results/.",
    "choose": "Choose the open settings of a method, or of all, by the label-free rule.",
    "bench": "Time the suite against its floor and other suites.",
    "check-device": "Let every method take steps on a device, compare with the CPU, and write a report.",
}
"""Command -> what it does, in the order of the help."""


MODULES = {
    "check-device": "check_device",
    "compare": "compare",
    "predict": "predict",
    "rerun": "again",
    "audit": "again",
}
"""Command -> its own or shared module; the others are in ``commands``."""


class Commands(click.Group):
    """Knows the names of its commands, and loads a command only when it is called."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(SUMMARIES)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in SUMMARIES:
            return None
        module = _imported(f"benchmarks.cli.{MODULES.get(name, 'commands')}")
        found: click.Command = (
            getattr(module, name.replace("-", "_")) if name in MODULES else module.commands.commands[name]
        )
        return found

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


def _imported(name: str) -> ModuleType:
    """A module and all that it imports: half a million objects, which the garbage collector need not look at."""
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def group() -> None:
    """Reference reproductions of deep transfer learning papers."""


def main() -> None:
    """Entry point: a user's mistake gives one sentence and exit status 2."""
    for stream in (sys.stdout, sys.stderr):  # file names need not be valid in the terminal's encoding
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        group.main(prog_name="python -m benchmarks", standalone_mode=False)
    except (UserError, DataError, UnknownMethodError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.  Nothing finished is lost.", err=True)
        sys.exit(INTERRUPTED)
