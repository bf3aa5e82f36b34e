"""One cell in one process: its data, its training, its evaluation, and what it leaves.

Which cells there are, and where they run, is decided elsewhere.
"""
