"""What goes wrong with data, told to the user."""


class DataError(Exception):
    """Data cannot be had, or are not what they should be.

    The message is one sentence that says what is wrong and what to do; command lines print it and nothing else.
    """


class UnavailableError(Exception):
    """A source does not have a file or cannot be reached, so the next source may be tried.

    Never leaves this package: it becomes a ``DataError`` when no source is left.
    """
