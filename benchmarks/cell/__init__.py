"""One cell in one process: its data, training, evaluation, and what it leaves behind.

Which cells there are, and where they run, is decided elsewhere.
"""
