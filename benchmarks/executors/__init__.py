"""Many cells: on the cores of this machine, or on a Ray cluster.

What a cell computes does not depend on where it runs.
"""
