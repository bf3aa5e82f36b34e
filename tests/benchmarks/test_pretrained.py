"""Pretrained backbones: the weights are where they belong, cuts lose nothing, crops are what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from benchmarks.machine.errors import UserError
from benchmarks.networks import backbones, pretrained, weights
from benchmarks.networks.backbones import BACKBONES, build, choose
from benchmarks.networks.feeding import Photos, in_order
from datasets.errors import DataError
from datasets.photos import square
from datasets.store import Location
from tests.datasets.office_helpers import encoded

KNOWN = pretrained.KNOWN
LITE0 = KNOWN["lite0"]


@pytest.fixture(scope="module")
def lite0(location: Location) -> Path:
    """The real weights, from the package index once."""
    return weights.path("lite0", location)


def photographs() -> dict[str, np.ndarray[Any, Any]]:
    """Real photographs that come with packages which the suite depends on."""
    from skimage import data

    found = {name: getattr(data, name)() for name in ("coffee", "rocket", "chelsea", "camera")}
    found["china"], found["flower"] = load_sample_images().images
    return found


def prepared(images: dict[str, np.ndarray[Any, Any]], side: int = 256) -> Tensor:
    from PIL import Image

    arrays = [square(encoded(Image.fromarray(values)), name, side) for name, values in images.items()]
    return torch.from_numpy(np.stack(arrays))


# The weights of Lite0.

SEEN = {
    "coffee": ("espresso", {"espresso", "cup", "coffee mug"}),
    "rocket": ("missile", {"missile", "projectile", "space shuttle"}),
    "chelsea": ("tiger cat", {"tiger cat", "Egyptian cat", "tabby"}),
    "camera": ("tripod", {"tripod", "reflex camera"}),
    "china": ("palace", {"palace", "monastery"}),
    "flower": ("daisy", {"daisy"}),
}
"""Photograph -> the best class, and classes among the best five."""


def test_lite0_names_what_real_photographs_show(lite0: Path) -> None:
    from torchvision.models import AlexNet_Weights

    names = AlexNet_Weights.IMAGENET1K_V1.meta["categories"]
    images = photographs()
    with torch.inference_mode():
        logits = pretrained.classifier("lite0", lite0)(pretrained.centre_crop(prepared(images), LITE0))
    assert logits.shape == (len(images), 1000)
    for name, row in zip(images, logits, strict=True):
        best = [names[index] for index in row.topk(5).indices.tolist()]
        first, among = SEEN[name]
        assert best[0] == first
        assert among <= set(best)


def test_the_network_of_the_same_name_without_prefix_computes_something_else(lite0: Path) -> None:
    """It takes the same weights without complaint; padding and epsilon differ, and so do the logits."""
    import timm

    ours = pretrained.classifier("lite0", lite0)
    other = timm.create_model("efficientnet_lite0", pretrained=False)
    other.load_state_dict(ours.state_dict(), strict=True)
    x = pretrained.centre_crop(prepared({"coffee": photographs()["coffee"]}), LITE0)
    with torch.inference_mode():
        a, b = ours(x), other.eval()(x)
    assert (a - b).abs().max() > 0.5
    assert {module.eps for module in ours.modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}


def test_every_weight_finds_one_place_and_every_place_one_weight(lite0: Path) -> None:
    state = torch.load(lite0, map_location="cpu", weights_only=True)
    renamed = pretrained._timm_keys(state)
    model = pretrained.classifier("lite0", lite0).state_dict()
    assert len(renamed) == len(state) == len(model)
    assert set(renamed) == set(model)
    assert all(torch.equal(renamed[name], model[name]) for name in model)
    assert {id(value) for value in renamed.values()} == {id(value) for value in state.values()}


@pytest.mark.parametrize("change", ["missing", "more", "shape", "pickle", "empty", "text"])
def test_other_weights_are_refused(change: str, lite0: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    state = torch.load(lite0, map_location="cpu", weights_only=True)
    if change == "missing":
        del state["_blocks.3._bn1.bias"]
    elif change == "more":
        state["_blocks.3._bn3.bias"] = torch.zeros(3)
    elif change == "shape":
        state["_fc.bias"] = torch.zeros(31)
    if change in ("missing", "more", "shape"):
        torch.save(state, path)
    elif change == "pickle":
        torch.save(nn.Linear(2, 2), path)
    else:
        path.write_bytes(b"" if change == "empty" else b"hello")
    with pytest.raises(DataError) as caught:
        pretrained.trunk("lite0", path)
    said = str(caught.value)
    assert said.startswith(f"{path} does not hold the weights of lite0 (")
    assert said.endswith("): delete it and try again.")
    assert "\n" not in said
    assert len(said) < 500


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_weights_file_runs_no_code(tmp_path: Path) -> None:
    """It is only ever read as tensors."""
    import pickle

    witness = tmp_path / "witness"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (witness,))

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(DataError, match="does not hold the weights"):
        pretrained.trunk("lite0", path)
    assert not witness.exists()


# Cuts.


@pytest.fixture(scope="module")
def trunks() -> dict[str, nn.Module]:
    """Every trunk with random weights and BatchNorm statistics, in evaluation mode; built once each."""
    made: dict[str, nn.Module] = {}

    class Lazily(dict[str, nn.Module]):
        def __missing__(self, name: str) -> nn.Module:
            torch.manual_seed(1)
            whole = pretrained._without_classifier(name, pretrained._architecture(name)).eval()
            for module in whole.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            self[name] = whole
            return whole

    return Lazily(made)


_OUTPUTS: dict[str, torch.Tensor] = {}


def outputs(name: str, whole: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a trunk makes of the one input, computed once."""
    if name not in _OUTPUTS:
        _OUTPUTS[name] = whole(x)
    return _OUTPUTS[name]


@pytest.mark.parametrize(("name", "cut"), [(name, cut) for name, known in KNOWN.items() for cut in known.cuts])
def test_before_and_after_a_cut_are_the_whole(name: str, cut: str, trunks: dict[str, nn.Module]) -> None:
    """To the last bit; the activation has the described shape, and the layers are shared, not copied."""
    known, whole = KNOWN[name], trunks[name]
    x = torch.randn(1, 3, known.crop, known.crop, generator=torch.Generator().manual_seed(0))
    before, after = pretrained.split(name, whole, cut)
    with torch.inference_mode():
        middle = before(x)
        assert tuple(middle.shape[1:]) == known.cuts[cut]
        out = after(middle)
        assert out.shape == (1, known.size)
        assert torch.equal(out, outputs(name, whole, x))
    assert out.std() > 0
    assert [*before.parameters(), *after.parameters()] == list(whole.parameters())
    assert all(a is b for a, b in zip([*before.parameters(), *after.parameters()], whole.parameters(), strict=True))


@pytest.mark.parametrize("name", KNOWN)
def test_the_trunk_is_the_classifier_without_its_last_layer(name: str) -> None:
    torch.manual_seed(2)
    model = pretrained._architecture(name).eval()
    whole = pretrained._without_classifier(name, model)
    known = KNOWN[name]
    last: Any = {"resnet50": "fc", "googlenet": "loss3.classifier", "alexnet": "classifier.6"}.get(name, "classifier")
    last = model.get_submodule(last)
    assert (last.in_features, last.out_features) == (known.size, 1000)
    x = torch.randn(1, 3, known.crop, known.crop)
    with torch.inference_mode():
        torch.testing.assert_close(last(whole(x)), model(x), rtol=1e-5, atol=1e-5)
    assert known.has_batchnorm == any(isinstance(module, nn.BatchNorm2d) for module in whole.modules())
    assert known.last_cut == list(known.cuts)[-1]
    assert known.late_cut in list(known.cuts)[:-1]
    assert known.side >= known.crop


@pytest.mark.parametrize("name", KNOWN)
def test_a_look_at_a_network_needs_no_weights(name: str) -> None:
    """Its layers are those of the real one, on no device."""
    for track in ("frozen", "late", "finetune"):
        made = build(choose(name, track), width=1, classes=31)
        assert made.layer_sizes["fc8"] == 31
        assert ("fc6" in made.layer_sizes) == (track != "frozen")
        assert made.layer_sizes["fc7"] == 256
        assert {p.device.type for p in made.trunk.parameters()} <= {"meta"}
    assert [p.shape for p in pretrained.untrained(name).parameters()] == [
        p.shape for p in pretrained._without_classifier(name, pretrained._architecture(name)).parameters()
    ]


# Networks.


@pytest.mark.parametrize("name", KNOWN)
def test_an_outline_has_every_batchnorm_layer_in_its_place(name: str) -> None:
    def layers(whole: nn.Module) -> dict[str, int]:
        return {
            key: sum(isinstance(module, nn.BatchNorm2d) for module in child.modules())
            for key, child in whole.named_children()
        }

    assert layers(pretrained.outline(name)) == layers(pretrained.untrained(name))
    for track in ("late", "finetune"):
        choice = choose(name, track)
        outlined, whole = backbones.look(choice), build(choice, width=1, classes=2)
        assert outlined.layer_sizes.keys() == whole.layer_sizes.keys()
        assert (outlined.trunk_rate, outlined.batchnorm) == (whole.trunk_rate, whole.batchnorm)
        assert layers(outlined.trunk) == layers(whole.trunk)


def test_late_trains_what_lies_after_the_cut(lite0: Path) -> None:
    """blocks.6 and what follows, at a tenth of the rate; BatchNorm statistics stay ImageNet's."""
    from methods.contract import default_groups

    whole = pretrained.trunk("lite0", lite0)
    made = build(choose("lite0", "late"), width=1, classes=5, weights=lite0)
    names = [name for name, _ in made.trunk.named_children()]
    assert names == ["blocks_6", "head"]
    for name, parameter in made.trunk.named_parameters():
        assert torch.equal(parameter, whole.get_parameter(name))
    groups = {group.rate: group.parameters for group in default_groups(made)}
    assert {id(p) for p in groups[backbones.TRUNK_RATE]} == {id(p) for p in made.trunk.parameters()}
    assert {id(p) for p in groups[1.0]} == {id(p) for m in (made.bottleneck, made.classifier) for p in m.parameters()}
    assert backbones.TRUNK_RATE == 0.1
    assert made.batchnorm == "kept"
    assert not any(m.training for m in made.train().modules() if isinstance(m, nn.BatchNorm2d))
    early = build(choose("lite0", "late", cut="blocks.3"), width=1, classes=5, weights=lite0)
    assert [name for name, _ in early.trunk.named_children()] == [
        "blocks_3",
        "blocks_4",
        "blocks_5",
        "blocks_6",
        "head",
    ]
    entire = build(choose("lite0", "finetune"), width=1, classes=5, weights=lite0)
    assert len(list(entire.trunk.parameters())) == len(list(whole.parameters()))


def test_frozen_has_no_trunk_to_train() -> None:
    made = build(choose("lite0", "frozen"), width=1280, classes=5)
    assert isinstance(made.trunk, nn.Identity)
    assert made.trunk_rate == 0
    assert not any(isinstance(module, nn.BatchNorm1d) for module in made.modules())
    with_norm = build(choose("lite0", "frozen", batchnorm="separate"), width=1280, classes=5)
    assert any(isinstance(module, nn.BatchNorm1d) for module in with_norm.modules())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("resnet51", "frozen"), "unknown backbone 'resnet51'; there are: lenet, "),
        (("lite0", "early"), "backbone 'lite0' has no track 'early'; it has: frozen, late, finetune."),
        (("lenet", "late"), "backbone 'lenet' has no track 'late'; it has: finetune."),
        (("lite0", "late", "layer"), "unknown BatchNorm mode 'layer'; there are: none, source, separate, joint, kept."),
        (("lite0", "late", "none"), "backbone 'lite0' has BatchNorm layers, so its BatchNorm mode cannot be 'none'."),
        (
            ("alexnet", "late", "kept"),
            "backbone 'alexnet' has no BatchNorm layers, so its BatchNorm mode cannot be 'kept'.",
        ),
        (("lite0", "frozen", "kept"), "the head on the track 'frozen' has no BatchNorm statistics of ImageNet to keep"),
        (("lite0", "late", None, "blocks.7"), "backbone 'lite0' has no cut 'blocks.7'; it has: blocks.1, blocks.2, "),
        (("lite0", "late", None, "pool"), "backbone 'lite0' has no cut 'pool'"),
        (
            ("lite0", "frozen", None, "blocks.9"),
            "backbone 'lite0' has no cut 'blocks.9' on the track 'frozen'; it has: ",
        ),
        (("lite0", "finetune", None, "blocks.5"), "backbone 'lite0' is not cut on the track 'finetune'"),
        (("lenet", "finetune", None, "pool"), "backbone 'lenet' is not cut on the track 'finetune'"),
    ],
)
def test_choices_that_do_not_exist(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(UserError) as caught:
        choose(*arguments)
    assert says in str(caught.value)


def test_defaults_are_known_as_such() -> None:
    for name, backbone in BACKBONES.items():
        for track, mode in backbone.tracks.items():
            choice = choose(name, track)
            assert choice.is_default
            assert choice.batchnorm == mode
    assert not choose("lite0", "late", "source").is_default
    assert not choose("lite0", "late", cut="blocks.5").is_default
    assert choose("lite0", "late", cut="blocks.6").is_default
    assert choose("lite0", "frozen", cut="pool").is_default


# Crops.


def numbered(count: int, side: int) -> Tensor:
    """Images whose pixels tell their row, their column and their image."""
    images = torch.zeros(count, side, side, 3, dtype=torch.uint8)
    images[..., 0] = torch.arange(side, dtype=torch.uint8)[None, :, None]
    images[..., 1] = torch.arange(side, dtype=torch.uint8)[None, None, :]
    images[..., 2] = torch.arange(count, dtype=torch.uint8)[:, None, None]
    return images


def raw(x: Tensor, known: pretrained.Pretrained) -> Tensor:
    """The bytes that a normalised input was made from, (N, crop, crop, 3)."""
    mean, std = torch.tensor(known.mean), torch.tensor(known.std)
    x = x.flip(1) if known.bgr else x
    return ((x.permute(0, 2, 3, 1) * std + mean) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("name", KNOWN)
def test_the_centre_crop(name: str) -> None:
    known = KNOWN[name]
    images = torch.randint(0, 256, (2, known.side, known.side, 3), dtype=torch.uint8)
    x = pretrained.centre_crop(images, known)
    assert x.shape == (2, 3, known.crop, known.crop)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    first = round((known.side - known.crop) / 2)
    wanted = images[:, first : first + known.crop, first : first + known.crop]
    assert torch.equal(raw(x, known), wanted)
    from torchvision.transforms.functional import normalize

    pixels = wanted.permute(0, 3, 1, 2).float() / 255
    expected = normalize(pixels, list(known.mean), list(known.std))
    expected = expected.flip(1) if known.bgr else expected
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-5 / min(known.std))


def test_random_crops_are_windows_and_half_of_them_mirrored() -> None:
    images = numbered(200, 256)
    x = pretrained.random_crops(images, LITE0, torch.Generator().manual_seed(4))
    assert x.shape == (200, 3, 224, 224)
    assert x.is_contiguous(memory_format=torch.channels_last)
    crops = raw(x, LITE0).int()
    rows, columns = crops[..., 0], crops[..., 1]
    assert torch.equal(crops[..., 2], torch.arange(200)[:, None, None].expand(200, 224, 224).int())
    top = rows[:, 0, 0]
    assert torch.equal(rows, (top[:, None] + torch.arange(224))[:, :, None].expand_as(rows).int())
    mirrored = columns[:, 0, 0] > columns[:, 0, -1]
    left = columns.amin((1, 2))
    steps = torch.where(mirrored[:, None], torch.arange(223, -1, -1), torch.arange(224))
    assert torch.equal(columns, (left[:, None] + steps)[:, None, :].expand_as(columns).int())
    for corner in (top, left):
        assert (corner.min(), corner.max()) == (0, 32), "every window of the 33 x 33 can be drawn"
        assert 12 < corner.float().mean() < 20
    assert 70 < mirrored.sum() < 130
    again = pretrained.random_crops(images, LITE0, torch.Generator().manual_seed(4))
    assert torch.equal(x, again)
    other = pretrained.random_crops(images, LITE0, torch.Generator().manual_seed(5))
    assert not torch.equal(x, other)


def test_photographs_are_augmented_in_training_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (130, 256, 256, 3), dtype=np.uint8)
    inputs = Photos(images, LITE0, torch.device("cpu"))
    some = np.array([5, 3, 5])
    assert torch.equal(inputs(some), pretrained.centre_crop(torch.from_numpy(images[some]), LITE0))
    wanted = pretrained.random_crops(torch.from_numpy(images[some]), LITE0, torch.Generator().manual_seed(1))
    assert torch.equal(inputs.training(some, torch.Generator().manual_seed(1)), wanted)
    assert [len(batch) for batch in in_order(inputs)] == [64, 64, 2], "whole photographs come in small batches"
    part = inputs.part(some)
    assert torch.equal(part(np.arange(3)), inputs(some))


# Where weights come from.


def test_weights_without_internet_name_the_choice_that_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import fetch

    monkeypatch.setattr(fetch, "BACKOFF_SECONDS", 0.0)
    for name in ("alexnet", "resnet50"):
        file = weights.FILES[name]
        assert re.fullmatch(rf"https://download\.pytorch\.org/models/{name}-.*\.pth", file.urls[0])
        offline = weights.File(file.name, ("http://127.0.0.1:9/x.pth",), digest=file.digest)
        monkeypatch.setitem(weights.FILES, name, offline)
        with pytest.raises(UserError) as caught:
            weights.path(name, Location(tmp_path))
        said = str(caught.value)
        assert said.startswith(f"the ImageNet weights of {name} are not available (http://127.0.0.1:9/x.pth failed 4")
        assert said.endswith("; BACKBONE=lite0 needs nothing but the package index.")
        assert str(tmp_path / "downloads" / file.name) in said
        assert "\n" not in said
    assert not weights.is_here("alexnet", Location(tmp_path))


def test_weights_from_a_folder_or_an_address_as_mirror(
    tmp_path: Path, lite0: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import functools
    import http.server
    import threading

    file = weights.FILES["lite0"]
    mirror = tmp_path / "mirror"
    (mirror / "weights").mkdir(parents=True)
    (mirror / file.name).write_bytes(lite0.read_bytes())
    monkeypatch.setitem(weights.FILES, "lite0", weights.File(file.name, digest=file.digest))  # no other source
    found = weights.path("lite0", Location(tmp_path / "a", str(mirror)))
    assert found.read_bytes() == lite0.read_bytes()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(mirror)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        found = weights.path("lite0", Location(tmp_path / "b", f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        server.server_close()
    assert found.read_bytes() == lite0.read_bytes()
    with pytest.raises(UserError, match=r"the ImageNet weights of lite0 are not available .* put the file into"):
        weights.path("lite0", Location(tmp_path / "c", str(tmp_path)))


def test_wrong_weights_are_never_used_and_do_not_stay(tmp_path: Path) -> None:
    """Those that were fetched are removed, so that the next try fetches again; those put there by hand are left."""
    file = weights.FILES["lite0"]
    mirror, place = tmp_path / "mirror", Location(tmp_path / "data", str(tmp_path / "mirror"))
    (mirror / "weights").mkdir(parents=True)
    (mirror / file.name).write_bytes(b"wrong")
    with pytest.raises(DataError, match=r"has the digest sha256:.* it was just fetched and is now removed"):
        weights.path("lite0", place)
    kept = place.kept(file)
    assert not kept.exists()
    kept.write_bytes(b"by hand")
    with pytest.raises(DataError, match=r"has the digest sha256:.* delete it, and try again"):
        weights.path("lite0", place)
    assert kept.read_bytes() == b"by hand"


def test_a_prefix_is_all_that_torchvision_pins(tmp_path: Path) -> None:
    """The first eight digits are part of the file's name."""
    import hashlib

    content = b"some weights"
    digest = hashlib.sha256(content).hexdigest()
    path = tmp_path / "x"
    path.write_bytes(content)
    weights._check(path, weights.File("x", digest=f"sha256:{digest[:8]}"), "")
    with pytest.raises(DataError):
        weights._check(path, weights.File("x", digest="sha256:" + "0" * 8), "")
    assert weights.FILES["resnet50"].digest == "sha256:0676ba61"


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights, "_obtain", full)
    with pytest.raises(UserError, match=r"weights of lite0 cannot be kept in .*: the disk is full; free some space"):
        weights.path("lite0", Location(tmp_path))
