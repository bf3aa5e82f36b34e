"""From records to committed tables, and back: reuse of committed rows, reruns, time estimates.

Nothing here trains.
"""
