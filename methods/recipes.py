"""Trainings and tasks that the suite's papers share, so that their source-only rows are the very same cells.

A paper whose method needs something else has its own recipe in its own module.
"""

from __future__ import annotations

from methods import contract
from methods.contract import Experiment, Paper, Recipe, Row, Setup, asked, frozen

# The papers fine-tune AlexNet; LeNet is trained from scratch.  Rate 0.03 was chosen over 0.01 because at 0.01 the
# source's loss had not converged after 600 steps.  The trial, one task, printed target accuracies as well; all rows
# share the rate.
DIGITS = frozen(
    {
        "digits-mini": Recipe(steps=600, epoch=60, rate=0.03),
        "digits": Recipe(steps=2000, epoch=200, rate=0.03),
    }
)
"""LeNet from scratch."""

# The error on a tenth of the source that was held out is lowest at 0.05: 1.7 %, against 2.4, 1.8 and 1.8 at 0.02, 0.03
# and 0.08, mean of three tasks and two seeds, source_only; 600 steps at 0.03 have 1.4 %.
BRIEF = frozen({**DIGITS, "digits-mini": Recipe(steps=300, epoch=30, rate=0.05)})
"""LeNet from scratch, on ``digits-mini`` in half the steps, so that a default run takes minutes on a laptop: used by
DDC, DAN, JAN and the comparators, whose source-only rows are the very same cells.  Networks with BatchNorm keep the
longer training."""

HEAD = Recipe(steps=600, epoch=60, rate=0.1)
"""Bottleneck and classifier on cached activations.  Of 0.03, 0.1, 0.2 and 0.3, this rate and 0.2 gave source_only the
lowest error (3.8 %) on a held-out tenth of Office-31's source, over six tasks and three seeds."""
LATE = Recipe(steps=300, epoch=100, rate=0.03, batch=32)
"""The last blocks at a tenth of the rate, bottleneck and classifier.  Batches are half those of the frozen track: a
cell then takes one to two minutes on one core.  Rate and steps were not chosen by held-out source; ``late_trainings``
is the study for choosing them."""

PHOTOS = ("office31", "office-home", "imageclef-da", "folder")
"""Data sets of photographs, used with their usual tasks."""
CLASSIC = frozen({"office31": ("amazon:webcam", "dslr:webcam", "webcam:dslr")})
"""The tasks of the down-sampled and the supervised protocol, as DDC and DAN report them."""
OFFICE_HARD = ("amazon:webcam", "amazon:dslr", "dslr:amazon", "webcam:amazon")
OFFICE_EASY = ("dslr:webcam", "webcam:dslr", "dslr:webcam", "webcam:dslr")
"""The tasks of Office-31 between dissimilar domains, and equally many between similar ones."""
CALTECH = frozen(
    {
        "office-caltech10": (
            *("amazon:caltech", "webcam:caltech", "dslr:caltech"),
            *("caltech:amazon", "caltech:webcam", "caltech:dslr"),
        )
    }
)
"""The tasks between Office-31 and Caltech that DAN and AutoDIAL report."""


LENET = Setup(DIGITS)
"""LeNet from scratch on digits."""
BRIEF_LENET = Setup(BRIEF)
"""The same, on ``digits-mini`` with half the steps."""
FROZEN = Setup(HEAD, backbone="lite0", track="frozen", seeds=5)
"""A head on cached activations of a fixed trunk."""
LAST_BLOCKS = Setup(LATE, backbone="lite0", track="late")
"""The last blocks fine-tuned."""


def beside(grid: tuple[float, ...], *rows: Row, published: tuple[str, ...] = ()) -> tuple[Experiment, ...]:
    """Experiments for a comparator: the data, networks and trainings of the suite's papers, beside source-only.

    Args:
        grid: values of its weight for the label-free rule to choose from.
        rows: the method, its full form first.
        published: others' tables that show it on photographs.
    """
    everything = (Row("source_only", label="source-only"), *rows)
    full = rows[0].label
    return (
        *asked(f"{full} on digits", everything, {"digits": BRIEF_LENET.on("digits-mini", "digits")}),
        *asked(
            f"{full} on photographs, on a trunk that is not fine-tuned",
            everything,
            {
                "photos": FROZEN.on(*PHOTOS, published=published),
                "office-caltech10": FROZEN.on("office-caltech10", tasks=CALTECH),
            },
        ),
        *asked(
            f"{full} on photographs, the last blocks fine-tuned",
            everything[:2],
            {"photos-late": LAST_BLOCKS.on(*PHOTOS, published=published)},
        ),
        *tuning(everything[0], rows[0], grid=grid),
    )


def trial(name: str) -> Paper:
    """A method without a paper, all variants beside source-only: LeNet on digits, a frozen trunk on photographs."""
    baseline = Row("source_only", label="source only")
    variants = [] if name == baseline.method else contract.load(name).variants
    rows = (baseline, *(Row(name, one, label=name if one == "default" else "") for one in variants))
    photos = FROZEN.on("office31", "office-caltech10", *PHOTOS[1:], seeds=3)
    return Paper(
        title=f"{name}, a method of no paper of the suite",
        authors="",
        venue="",
        year=0,
        link="",
        experiments=(
            *asked(f"{name} on digits", rows, {"digits": LENET.on("digits-mini", "digits")}),
            *asked(f"{name} on photographs", rows, {"photos": photos}),
        ),
    )


HELD_OUT = 0.1
"""Fraction of the labelled source held out by ``selection`` and ``tuning``."""
CRITERIA = ("target_entropy", "snd", "iwcv", "dev")
"""What rules without target labels look at, besides the held-out error and the distance between the domains."""


def tuning(
    baseline: Row,
    *rows: Row,
    grid: tuple[float, ...],
    weight: str = "weight",
    photos: Setup = FROZEN,
    digits: Setup = BRIEF_LENET,
) -> tuple[Experiment, ...]:
    """The study of rules that choose a weight: the whole grid, and what each rule sees for each of its values.

    Args:
        baseline: what the method is compared with.
        rows: the method.
        grid: values of its weight, wide enough that the best is at neither end.
        weight: its name in the method's configuration.
        photos: network and training of the method's tables on photographs.
        digits: likewise on digits.
    """
    return asked(
        "Rules that choose the weight without target labels, with a tenth of the labelled source held out",
        (baseline, *rows),
        {
            "tuning": photos.on("office31", "office-caltech10", tasks=CALTECH),
            "tuning-digits": digits.on("digits-mini", "digits", seeds=5),
        },
        default=False,
        sweep=frozen({weight: grid}),
        unswept=(baseline,),
        holdout=HELD_OUT,
        last=CRITERIA,
    )


ONE_OF_EACH = frozen({"office31": ("amazon:webcam", "dslr:amazon", "webcam:amazon")})
"""One task per source of Office-31."""


def late_trainings(row: Row) -> tuple[Experiment, ...]:
    """The study for choosing the training of the last blocks: the error on a held-out tenth of the source.

    Source-only training never sees the target, so one task per source is enough.  ``BATCHNORM=source`` does the same
    under the statistics of the source's batches instead of ImageNet's.

    Args:
        row: source-only training.
    """
    return asked(
        "Rate, steps and batches of the last blocks' training, with a tenth of the labelled source held out",
        (row,),
        {"late-trainings": LAST_BLOCKS.on("office31", tasks=ONE_OF_EACH, seeds=2)},
        default=False,
        recipe_sweep=frozen({"rate": (0.03, 0.1), "steps": (300, 600, 1200), "batch": (32, 64)}),
        holdout=HELD_OUT,
    )


def selection(baseline: Row, *rows: Row, recipe: Recipe = HEAD, protocol: str = "full") -> Experiment:
    """The study of rules that choose an evaluation, the same for every method.

    Args:
        baseline: what the method is compared with.
        rows: the method.
        recipe: of its main table.
        protocol: likewise.
    """
    return Experiment(
        name="selection",
        title="Rules that choose an epoch, with a tenth of the labelled source held out, on Office-31",
        rows=(baseline, *rows),
        recipes=frozen({"office31": recipe}),
        baseline=baseline,
        protocol=protocol,
        holdout=HELD_OUT,
        backbone="lite0",
        track="frozen",
    )
