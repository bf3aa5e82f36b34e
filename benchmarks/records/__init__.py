"""What is kept on disk, and its schemas: the spec of a cell, its record, CSV files, where committed numbers come from.

The report reads with the same code, so nothing here imports torch.
"""
