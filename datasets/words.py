"""Wording shared by all messages: a number with its noun."""

from __future__ import annotations


def plural(number: int, one: str, several: str = "") -> str:
    """``1 task``, ``2 tasks``, ``2 classes``; several is one with an s where it is not given."""
    return f"{number} {one if number == 1 else several or one + 's'}"
