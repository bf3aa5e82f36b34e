"""What is kept on disk, and its schemas: a cell's spec and record, CSV files, where committed numbers come from.

The report reads with the same code, so nothing here imports torch.
"""
