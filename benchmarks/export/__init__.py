"""From records to committed tables, and back: reuse of committed rows, reruns, estimates of time.

Nothing here trains.
"""
