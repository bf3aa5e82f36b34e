"""From a paper's experiments to cells, and the settings that are chosen without target labels.

Nothing here trains.
"""
