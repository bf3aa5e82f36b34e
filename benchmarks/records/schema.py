"""The columns of every CSV file that the suite writes and the report reads."""

from __future__ import annotations

from benchmarks.records.rules import METRICS

RESULTS = (
    *("paper", "experiment", "method", "variant", "dataset", "protocol", "task", "split", "seed", "backbone", "track"),
    *("setting", "selection", "metric", "value", "n_test", "seconds", "device", "torch", "commit", "cell"),
)
"""``results/<paper>/<experiment>.csv``: one row per cell, selection rule and metric."""

SLOT = (*RESULTS[: RESULTS.index("setting") + 1], "device")
"""Columns that say which slot of a table a cell fills; a newer cell replaces an older one in the same slot."""

PUBLISHED = (
    *("paper", "run_by", "table", "method", "backbone", "dataset", "task", "accuracy", "spread", "provenance"),
    "source",
)
"""``results/published.csv``: one row per published number."""

CHOICES = (
    *("method", "variant", "parameter", "dataset", "backbone", "track", "value", *METRICS),
    *("rule", "criterion", "chosen", "cells", "tasks"),
)
"""``results/choices.csv``: one row per value of a grid."""

COMPARISON = (
    *("dataset", "protocol", "backbone", "track", "method", "variant", "label", "setting", "note", "task", "seed"),
    *("accuracy", "target_entropy", "a_distance", "snd", "n_test", "seconds", "error", "commit", "cell", "network"),
)
"""``compare/<data set>.csv``: one row per method, task and seed; unknown values of a cell are empty."""

PREDICTIONS_FILE = "predictions.csv"
PREDICTIONS = ("file", "predicted", "probability", "label")
"""``kept/<cell>/predictions.csv``: one row per image; the label is empty if unknown."""

PER_CLASS_FILE = "per-class.csv"
PER_CLASS = ("class", "images", "accuracy")
"""``kept/<cell>/per-class.csv``: one row per class, if labels are known; no accuracy for a class without images."""

CONFUSION_FILE = "confusion.csv"
"""``kept/<cell>/confusion.csv``: likewise, a row and a column for each class."""

REPLICATES = (
    *("paper", "experiment", "dataset", "protocol", "backbone", "track"),
    *("first", "most", "claim", "spread", "delta", "planned"),
)
"""``results/replicates.csv``: one row per table whose number of replicates follows from a first stage."""

POINT = ("domain", "class", "predicted", "x", "y")
"""A t-SNE point: ``source`` or ``target``; class and prediction counted from 0; coordinates without unit."""
TSNE = (
    *("paper", "experiment", "method", "variant", "setting", "dataset", "task", "split", "seed", "cell"),
    *POINT,
)
"""``results/<paper>/maps/<experiment>.csv``: features in the plane, one row per image."""

SPEED = (
    *("topic", "size", "contestant", "seconds", "spread", "rounds", "clock", "threads", "device", "instructions"),
    *("torch", "peers", "commit", "memory"),
)
"""``results/speed/speed.csv``: one row per entry of a benchmark; memory in megabytes, empty if not measured."""
