"""Names of a user's own data sets, as they are typed and as they are kept; imports nothing heavy.

A path may hold blanks, quotes and bytes that are no UTF-8.  What is kept of it, in records, tables and pages, is its
resolved form as plain text in which such bytes are spelled ``\\xe9``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

PREFIX = "folder:"
COMMON = "#common"
"""Ends the name of a folder of which only the classes are used that all its labelled domains have."""


def printable(text: str) -> str:
    """A file name as one line of Unicode: bytes that are no UTF-8, and ends of lines, become ``\\xNN``."""
    plain = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return re.sub("[\x00-\x1f\x7f\x85\u2028\u2029]", lambda found: "".join(map(_spelled, found[0].encode())), plain)


def _spelled(byte: int) -> str:
    return f"\\x{byte:02x}"


def path_of(text: str) -> Path:
    """The path that a printable name stands for; the inverse of ``printable`` where such a path exists."""
    if "\\x" not in text or Path(text).exists():
        return Path(text)
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), os.fsencode(text))
    return Path(os.fsdecode(raw))


def canonical(name: str) -> str:
    """One name for one folder, however it is spelled: its resolved path; names of other data sets as they are."""
    if not name.startswith(PREFIX):
        return name
    text = name.removeprefix(PREFIX)
    common = COMMON if text.endswith(COMMON) and not path_of(text).exists() else ""
    text = text.removesuffix(common)
    return f"{PREFIX}{printable(str(path_of(text).expanduser().resolve()))}{common}" if text.strip() else PREFIX


def parted(text: str) -> tuple[str, ...]:
    """The data sets that a text names, canonical: names parted by blanks, then folders, whose paths may hold blanks."""
    first, *folders = re.split(rf"(?:^|(?<=\s)){PREFIX}", text)
    return (*first.split(), *(canonical(f"{PREFIX}{path.strip()}") for path in folders))
