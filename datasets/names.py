"""Names of a user's own data sets, as typed and as stored; imports nothing heavy.

A path may contain spaces, quotes and bytes that are not UTF-8.  In records, tables and pages it is stored in its
resolved form, as plain text with such bytes spelled ``\\xe9``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

PREFIX = "folder:"
COMMON = "#common"
"""Ends the name of a folder of which only the classes shared by all labelled domains are used."""


def printable(text: str) -> str:
    """A file name as one line of Unicode: bytes that are not UTF-8, and line ends, become ``\\xNN``."""
    plain = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return re.sub("[\x00-\x1f\x7f\x85\u2028\u2029]", lambda found: "".join(map(_spelled, found[0].encode())), plain)


def _spelled(byte: int) -> str:
    return f"\\x{byte:02x}"


def counted(number: int, one: str, several: str = "") -> str:
    """``1 class``, ``2 classes``; several is one with an s where it is not given."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def path_of(text: str) -> Path:
    """The path that a printable name stands for; the inverse of ``printable`` if such a path exists."""
    if "\\x" not in text or Path(text).exists():
        return Path(text)
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), os.fsencode(text))
    return Path(os.fsdecode(raw))


def canonical(name: str) -> str:
    """One name for one folder, however it is spelled: its resolved path; names of other data sets unchanged."""
    if not name.startswith(PREFIX):
        return name
    text = name.removeprefix(PREFIX)
    common = COMMON if text.endswith(COMMON) and not path_of(text).exists() else ""
    text = text.removesuffix(common)
    return f"{PREFIX}{printable(str(path_of(text).expanduser().resolve()))}{common}" if text.strip() else PREFIX


def parted(text: str) -> tuple[str, ...]:
    """The data sets named in a text, canonical: names separated by spaces, then folders (paths may contain spaces)."""
    first, *folders = re.split(rf"(?:^|(?<=\s)){PREFIX}", text)
    return (*first.split(), *(canonical(f"{PREFIX}{path.strip()}") for path in folders))
