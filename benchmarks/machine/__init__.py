"""The machine and this process on it: devices, threads, several processes, random streams, user errors.

Knows nothing about cells, networks or papers.
"""
