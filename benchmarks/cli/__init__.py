"""``python -m benchmarks``: commands and their options, and the speed benchmark behind ``bench``.

The work itself is done in the other packages; here it is called and printed.
"""
