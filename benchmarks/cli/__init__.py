"""``python -m benchmarks``: commands and their options, and the speed benchmark behind ``bench``.

What a command does lives in the other rooms; here it is called and printed.
"""
