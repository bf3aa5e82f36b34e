"""What a user can fix: reported as one sentence with a non-zero exit status, never as a traceback."""

from __future__ import annotations

INTERRUPTED = 130
"""Exit status after Ctrl-C, as in shells."""


class UserError(Exception):
    """The message says what is wrong and what to do."""
