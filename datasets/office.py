"""The photographs of the papers: Office-31, Office-Caltech10 (images and SURF features), Office-Home, ImageCLEF-DA."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from datasets import decoders, photos
from datasets.domains import Domain, File, Route, Suite

_DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"
_CODELOAD = "https://codeload.github.com/{}/zip/{}"

OFFICE31 = tuple(
    "back_pack bike bike_helmet bookcase bottle calculator desk_chair desk_lamp desktop_computer file_cabinet "
    "headphones keyboard laptop_computer letter_tray mobile_phone monitor mouse mug paper_notebook pen phone printer "
    "projector punchers ring_binder ruler scissors speaker stapler tape_dispenser trash_can".split()
)
CALTECH10 = tuple("backpack bike calculator headphones keyboard laptop monitor mouse mug projector".split())
_RENAMED = {"back_pack": "backpack", "laptop_computer": "laptop"}
"""Office-31's names for two of the classes that it shares with Caltech."""

OFFICE_HOME = tuple(
    "Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair Clipboards Computer Couch "
    "Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops Flowers Folder Fork Glasses Hammer Helmet "
    "Kettle Keyboard Knives Lamp_Shade Laptop Marker Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen Pencil "
    "Postit_Notes Printer Push_Pin Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda Speaker "
    "Spoon TV Table Telephone ToothBrush Toys Trash_Can Webcam".split()
)

_CLASS_AND_NAME = r"(?P<class>[^/]+)/(?P<name>[^/.][^/]*\.(?i:jpe?g))$"
"""End of an image's path; hidden files, such as those that macOS adds to archives, are not images."""

_OFFICE31_FILES = (
    File("office31.tar", size=84992000),
    File("domain_adaptation_images.tar.gz", (_DRIVE.format("0B4IapRTv9pJ1WGZVd1VDMmhwdlE"),)),
    File(
        "DDC-transfer-learning.zip",
        (_CODELOAD.format("syorami/DDC-transfer-learning", "9090f7fdd7c149c6158c5145b516abee97bb0944"),),
    ),
)
"""The archive as its authors published it, under two names, and a Git repository with the same files."""
_PYKALE = "https://github.com/pykale/data/raw/f5bb59f4d837a0acd17aa9ba51b9634f194f4095/images/office/{}.zip"


def _office31(name: str, origin: str, classes: tuple[str, ...], renamed: Mapping[str, str]) -> Domain:
    """A domain of Office-31, or the part of it with the classes of Caltech."""
    counts = {"amazon": "from amazon.com", "dslr": "by a digital SLR camera", "webcam": "by a web camera"}
    part = "" if classes is OFFICE31 else ", the ten classes that Caltech-256 shares"
    decode = partial(
        photos.by_class,
        pattern=rf"(^|/){origin}/(images/)?{_CLASS_AND_NAME}",
        domain=origin,
        classes=classes,
        renamed=renamed,
    )
    return Domain(
        name=name,
        title=f"Office-31 {origin}{part}",
        description=f"Photographs of office objects {counts[origin]} (Saenko et al., 2010){part}; RGB.",
        routes=(
            *(Route((file,), decode) for file in _OFFICE31_FILES),
            Route((File(f"office31/{origin}.zip", (_PYKALE.format(origin),)),), decode),
        ),
        parts=("train",),
        kind="photos",
        channels=3,
        classes=classes,
    )


def _surf(name: str) -> Domain:
    file = f"{name.capitalize() if name == 'caltech10' else name}_SURF_L10.mat"
    url = f"https://raw.githubusercontent.com/jtahmores/DISA/0130ed8667b5b6d9ff16f3eec1f3df0941280d6e/data/{file}"
    return Domain(
        name=f"{name}-surf",
        title=f"Office-Caltech10 {name}, SURF",
        description="Histograms of 800 visual words of SURF features (Gong et al., 2012), counts in 0 .. 255.",
        routes=(Route((File(f"office_caltech10_surf/{file}", (url,)),), decoders.surf),),
        parts=("train",),
        kind="features",
        width=800,
        classes=CALTECH10,
    )


_HOME_FOLDERS = {"art": "Art", "clipart": "Clipart", "product": "Product", "real": "Real World"}
_HOME_PARQUET = tuple(
    File(
        f"office-home/train-{number:05d}-of-00003.parquet",
        (
            "https://huggingface.co/datasets/flwrlabs/office-home/resolve/main/data/"
            f"train-{number:05d}-of-00003.parquet",
        ),
    )
    for number in range(3)
)


def _home(short: str) -> Domain:
    folder = _HOME_FOLDERS[short]
    decode = partial(
        photos.by_class,
        pattern=rf"(^|/){folder}/{_CLASS_AND_NAME}",
        domain=folder,
        classes=OFFICE_HOME,
    )
    file = File(
        "OfficeHomeDataset_10072016.zip",
        (_DRIVE.format("1uY0pj7oFsjMxRwaD3Sxy0jgel0fsYXLC"),),
        digest="md5:b1c14819770c4448fd5b6d931031c91c",
    )
    return Domain(
        name=f"home-{short}",
        title=f"Office-Home {folder}",
        description="Objects of office and home (Venkateswara et al., 2017), 65 classes; RGB.  The publisher's digest "
        "of the archive and the counts vouch for its content.",
        routes=(
            Route((file,), decode),
            Route(_HOME_PARQUET, partial(photos.parquet, domain=folder, of=folder, classes=OFFICE_HOME)),
        ),
        parts=("train",),
        kind="photos",
        channels=3,
        classes=OFFICE_HOME,
    )


_CLEF = {"bing": "b", "caltech": "c", "imagenet": "i", "pascal": "p"}
CLEF = tuple("aeroplane bike bird boat bottle bus car dog horse monitor motorbike people".split())


def _clef(short: str) -> Domain:
    decode = partial(photos.by_list, letter=_CLEF[short])
    return Domain(
        name=f"clef-{short}",
        title=f"ImageCLEF-DA {short}",
        description="600 photographs of 12 classes (ImageCLEF 2014 domain adaptation challenge); RGB.  Its counts are "
        "all that vouches for its content.",
        routes=(Route((File("image_CLEF.zip"),), decode), Route((File("image_CLEF.tar.gz"),), decode)),
        parts=("train",),
        kind="photos",
        channels=3,
        classes=CLEF,
    )


_CALTECH = Domain(
    name="caltech10",
    title="Office-Caltech10 caltech",
    description="Photographs of Caltech-256, the ten classes that Office-31 shares (Gong et al., 2012); RGB.",
    routes=tuple(
        Route(
            (file,),
            partial(
                photos.by_class,
                pattern=rf"(^|/)(caltech10|[cC]altech)/{_CLASS_AND_NAME}",
                domain="caltech10",
                classes=CALTECH10,
                renamed=_RENAMED,
            ),
        )
        for file in (
            File("caltech10.tar"),
            File(
                "OfficeCaltechDomainAdaptation.zip",
                (
                    _CODELOAD.format(
                        "LeoGautheron/OfficeCaltechDomainAdaptation", "0bcf68398284dbef34b04b70e5b897815b11147b"
                    ),
                ),
            ),
        )
    ),
    parts=("train",),
    kind="photos",
    channels=3,
    classes=CALTECH10,
)

_ORIGINS = ("amazon", "dslr", "webcam")
_SURF_FILES = ("amazon", "dslr", "webcam", "caltech10")

DOMAINS: tuple[Domain, ...] = (
    *(_office31(origin, origin, OFFICE31, {}) for origin in _ORIGINS),
    *(_office31(f"{origin}10", origin, CALTECH10, _RENAMED) for origin in _ORIGINS),
    _CALTECH,
    *map(_surf, _SURF_FILES),
    *map(_home, _HOME_FOLDERS),
    *map(_clef, _CLEF),
)


def _pairs(domains: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((a, b) for a in domains for b in domains if a != b)


def _ten(suffix: str) -> dict[str, str]:
    return {"amazon": f"amazon{suffix}", "dslr": f"dslr{suffix}", "webcam": f"webcam{suffix}"}


_TEN = {**_ten("10"), "caltech": "caltech10"}
_TEN_SURF = {**_ten("-surf"), "caltech": "caltech10-surf"}
_HOMES = {short: f"home-{short}" for short in _HOME_FOLDERS}

SUITES: tuple[Suite, ...] = (
    Suite(
        name="office31",
        title="Office-31",
        description="Photographs of 31 classes of office objects from three sources.",
        domains={origin: origin for origin in _ORIGINS},
        tasks=(
            ("amazon", "webcam"),
            ("dslr", "webcam"),
            ("webcam", "dslr"),
            ("amazon", "dslr"),
            ("dslr", "amazon"),
            ("webcam", "amazon"),
        ),
        transductive=True,
        classes=OFFICE31,
    ),
    Suite(
        name="office-caltech10",
        title="Office-Caltech10",
        description="The ten classes that Office-31 and Caltech-256 share, photographs.",
        domains=_TEN,
        tasks=_pairs(_TEN),
        transductive=True,
        classes=CALTECH10,
    ),
    Suite(
        name="office-caltech10-surf",
        title="Office-Caltech10, SURF features",
        description="The same photographs as histograms of visual words.",
        domains=_TEN_SURF,
        tasks=_pairs(_TEN_SURF),
        transductive=True,
        classes=CALTECH10,
    ),
    Suite(
        name="office-home",
        title="Office-Home",
        description="Four styles of 65 classes of objects of office and home.",
        domains=_HOMES,
        tasks=_pairs(_HOMES),
        transductive=True,
        classes=OFFICE_HOME,
    ),
    Suite(
        name="imageclef-da",
        title="ImageCLEF-DA",
        description="Twelve classes that four public sets of photographs share.",
        domains={short: f"clef-{short}" for short in _CLEF},
        tasks=(
            ("imagenet", "pascal"),
            ("pascal", "imagenet"),
            ("imagenet", "caltech"),
            ("caltech", "imagenet"),
            ("caltech", "pascal"),
            ("pascal", "caltech"),
        ),
        transductive=True,
        classes=CLEF,
    ),
)
