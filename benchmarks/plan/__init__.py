"""From a paper's experiments to cells, and the settings chosen without target labels.

Nothing here trains.
"""
