"""What is wrong with the modules themselves, apart from torch, so that it is known at once."""

from __future__ import annotations


class UnknownMethodError(LookupError):
    """A method of this name does not exist, or its module is broken; the message says which."""
