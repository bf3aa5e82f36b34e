"""The overview's first screens: what reproduced, whose claims they are, and one sentence on every paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.records.words import plural
from methods.contract import Paper
from report import statements
from report.claims import NO_DIFFERENCE, NOT_RUN, REPRODUCED, REVERSED, TOO_FEW, VERDICTS
from report.leaderboard import Board, Standing
from report.ledger import Verdict
from report.pages import Sources, cell_view
from report.statements import Statement
from report.table import Basis, difference

WHOSE = {"paper": "the paper's", "code": "its released code's", "ours": "our own questions"}
"""``Verdict.whose`` -> its column heading."""
GLOSSARY = {
    "cell": "one training: a method with its settings, a data set, a task, a seed; named by a hash over all of it",
    "task": "source:target, the labelled domain that is learned and the one that is tested",
    "baseline": "the same network, recipe, data, seeds and random streams as the method, its transfer term off; a gain "
    "is over it",
    "last iterate": "the network as the last step left it; all headline numbers are of it",
    "oracle": "the best epoch by target labels, which no user without labels could pick; shown, never a result",
    "protocol": "which images and labels training sees: full (all source labels, no target label), down-sampled (20 or "
    "8 source images per class), supervised (down-sampled, and 3 labelled target images per class), semi-supervised "
    "(10 of each of the alphabetically first 15 classes, tested on the 16 others; semi-supervised-random: of 15 drawn "
    "by chance)",
    "frozen": "a track (what is trained): the ImageNet-trained network is fixed, only bottleneck and classifier are "
    "trained, on its cached activations",
    "late": "a track: the last blocks are trained as well, at a tenth of the rate; finetune trains the whole network",
    "reproduced": "the 95 % interval lies where the claim says; reversed: on the other side",
    "no effect": "the interval holds 0 and lies within 0.5 points of it; undecided: anything else, with the number of "
    "seeds expected to decide it; mixed: a task goes significantly against the mean",
    "as released": "with the values of the code that the authors published, where these differ from the paper's",
    "comparator": "a method of no paper of the suite, run under the same recipes for orientation",
}
"""Words used in tables."""
FURTHER = {
    "label-free rule": "how open settings are chosen: the value with the lowest mean rank, over tasks, of DEV, an "
    "importance-weighted risk on held-out source images; no target label is used",
    "IWCV, SND": "two other such rules, compared with it: the risk without DEV's control variate, and the soft "
    "neighbourhood density of the target's predictions",
    "set-up": "data set, protocol, network and track on which a claim is tested",
    "split": "one draw of the labelled images, where a protocol draws them",
    "not enough runs": "of a single seed or split, which decides nothing",
    "committed, this machine, both": "read from results/, from runs/, or equal in the two",
}
"""More of them, on the pages alone."""
NAMES = {
    "office31": "Office-31: amazon (shop pictures), dslr and webcam, 31 classes",
    "office-caltech10": "the ten classes that Office-31 and Caltech-256 share; office-caltech10-surf: SURF features",
    "digits": "USPS, MNIST and MNIST-M (mnistm-10k: a subset of it, 10,000 images)",
    "digits-mini": "MNIST (5,000 images), optdigits (UCI's optical digits) and mfeat (UCI's multiple features)",
    "cifar100-200": "CIFAR-100 with 200 training images of each class",
    "lite0, lite2": "EfficientNet-Lite0 and Lite2 with ImageNet weights",
    "googlenet": "BVLC's GoogLeNet of 2014 with ImageNet weights, without BatchNorm",
    "lenet, lenet-bn": "LeNet from scratch, without and with BatchNorm",
    "caffenet-16, caffenet-32": "AlexNet's eight layers, narrow, for 16 and 32 pixels; caffenet-32-bn: with BatchNorm",
    "mlp, mlp-pixels, mlp-photos": "one hidden layer on SURF features, on digits, and on grey 28 x 28 photographs; "
    "mlp-per-domain: on features scaled within each domain",
}
"""What data sets and networks are called in tables."""


def matrix(rows_of: Mapping[str, Sequence[Verdict]]) -> dict[str, list[tuple[str, list[tuple[str, int]]]]]:
    """Paper -> column heading -> how many set-ups of its claims have which verdict."""
    found = {}
    for name, rows in rows_of.items():
        cells = []
        for whose, heading in WHOSE.items():
            counts = Counter(row.verdict for row in statements.outcomes(rows) if row.whose == whose)
            cells.append((heading, [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]]))
        found[name] = cells
    return found


def in_short(rows: Sequence[Verdict]) -> str:
    """How many claims of a paper reproduce in all set-ups, some, or none; one sentence, empty if there is no claim."""
    every = [one for one in statements.statements(rows) if one.whose in ("paper", "code")]
    kinds = Counter(map(_kind, every))
    parts = [f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind]]
    return f"Of its {plural(len(every), 'claim')}: {', '.join(parts)}." if parts else ""


KINDS = ("reproduced wherever tried", "in part", "not at all", "undecided", TOO_FEW, NOT_RUN)
"""Possible outcomes of a claim over all set-ups that the paper covers."""


def _kind(one: Statement) -> str:
    verdicts = {row.verdict for row in one.outcomes if row.whose != statements.OURS} - {NOT_RUN}
    if verdicts <= {TOO_FEW}:
        return TOO_FEW if verdicts else NOT_RUN
    if verdicts == {REPRODUCED}:
        return KINDS[0]
    if REPRODUCED in verdicts:
        return KINDS[1]
    return KINDS[2] if verdicts & {REVERSED, NO_DIFFERENCE} else KINDS[3]


def gains(found: Iterable[Board], sources: Sources) -> dict[str, dict[str, Any]]:
    """Paper -> the gain of its own method on the first board that has it, for a sentence."""
    told: dict[str, dict[str, Any]] = {}
    for board in found:
        for line in board.lines:
            if line.one.own and line.gap is not None and line.one.paper not in told:
                told[line.one.paper] = _told(board, line, sources)
    return told


def _told(board: Board, line: Standing, sources: Sources) -> dict[str, Any]:
    one, gap, theirs = line.one, line.gap, line.published
    assert gap is not None
    ours = difference(gap.effect, gap.se, basis=one.run.bases(one.entry, one.base))
    published = None
    if theirs is not None:
        published = difference(theirs.value, mark=theirs.mark, basis=Basis(source=theirs.where))
    group = board.group
    return {
        "label": one.label,
        "over": one.base.label,
        "ours": cell_view(ours, sources),
        "theirs": cell_view(published, sources) if published is not None else None,
        "where": f"{group.dataset}, {group.protocol}, {group.backbone}, {group.track}",
        "whose": "a reimplementation's" if line.comparator else "published",
        "published_on": f"{group.dataset}, {line.published_on}",
        "verdict": line.verdict,
    }


def order(papers: Iterable[tuple[str, Paper]]) -> list[str]:
    """The suite's papers by year, then the comparators."""
    return [name for name, _ in sorted(papers, key=lambda item: (item[1].comparator, item[1].year, item[0]))]
