"""The machine and this process on it: devices, threads, several processes, random streams, a user's errors.

Knows nothing of cells, networks or papers.
"""
