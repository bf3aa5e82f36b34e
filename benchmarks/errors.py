"""What a user can mend: reported as one sentence with a non-zero exit status, never as a traceback."""

from __future__ import annotations


class UserError(Exception):
    """The message says what is wrong and what to do."""
