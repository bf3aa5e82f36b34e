"""Features of a fixed network at earlier places: pooled maps and logits, their keys, and sweeps over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.cell import loading
from benchmarks.machine.errors import UserError
from benchmarks.networks import activations, backbones, pretrained
from benchmarks.networks.activations import Key
from benchmarks.plan import plan
from benchmarks.plan.plan import Options
from datasets import protocols
from datasets.store import Location
from methods import contract

KEY = Key(
    backbone="lite0",
    weights="sha256:w",
    domain="made-up",
    data="d",
    transform="t",
    cut="blocks.3",
    views=0,
    precision="fp32",
    statistics="imagenet",
    device="cpu",
    revision=1,
)


@pytest.fixture
def random_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Untrained networks in the place of the pretrained ones, the same at every call."""

    def classifier(name: str, _weights: Path) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return pretrained._architecture(name).eval()

    monkeypatch.setattr(pretrained, "classifier", classifier)
    activations._early.cache_clear()
    yield
    activations._early.cache_clear()


def computed(key: Key, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What an extraction keeps of a batch."""
    with torch.inference_mode():
        early = activations._early(key.backbone, key.cut, Path("none"), key.device, key.pooled)
        return activations.views_of(early, images, 0, key)


def photos(side: int, n: int = 2) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


@pytest.mark.usefixtures("random_weights")
@pytest.mark.parametrize(
    ("backbone", "cut"),
    [("lite0", f"blocks.{i}") for i in range(1, 7)] + [("resnet50", "layer3"), ("alexnet", "conv3")],
)
def test_a_pooled_place_is_the_mean_over_space_of_the_unpooled_one(backbone: str, cut: str) -> None:
    known = pretrained.KNOWN[backbone]
    images = photos(known.side)
    key = dataclasses.replace(KEY, backbone=backbone, cut=cut, views=1)
    maps, vectors = computed(key, images), computed(dataclasses.replace(key, pooled=True), images)
    channels, *space = known.cuts[cut]
    assert maps.shape == (2, 2, *space, channels)
    assert vectors.shape == (2, 2, known.places[cut])
    wanted = maps.astype(np.float64).mean((2, 3))
    np.testing.assert_allclose(vectors, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.usefixtures("random_weights")
def test_every_place_gives_vectors_of_its_width() -> None:
    known = pretrained.KNOWN["alexnet"]
    images = pretrained.centre_crop(torch.from_numpy(photos(known.side)), known)
    with torch.inference_mode():
        found = {place: pretrained.features("alexnet", Path("none"), place)(images) for place in known.places}
        whole = pretrained.classifier("alexnet", Path("none"))
        assert {place: tuple(x.shape[1:]) for place, x in found.items()} == {
            **{"conv3": (384,), "fc6": (4096,), "fc7": (4096,), "logits": (1000,)}
        }
        assert torch.equal(found["logits"], whole(images))
        # fc7 follows from fc6 and the logits from fc7, by the layers between.
        assert torch.equal(whole.classifier[3:6](found["fc6"]), found["fc7"])
        assert torch.equal(whole.classifier[6](found["fc7"]), found["logits"])


def test_a_pooled_place_has_a_cache_of_its_own_and_no_other_key_has_changed() -> None:
    pooled = dataclasses.replace(KEY, pooled=True)
    assert KEY.hash == "241725a25cbf11b4"
    assert pooled.hash != KEY.hash


def test_only_maps_on_the_frozen_track_are_pooled() -> None:
    pooled = {
        (name, track, cut): backbones.choose(name, track, cut=cut).pooled
        for name, track, cut in [
            ("lite0", "frozen", "blocks.2"),
            ("lite0", "frozen", "pool"),
            ("lite0", "frozen", "logits"),
            ("lite0", "frozen", None),
            ("lite0", "late", "blocks.2"),
            ("alexnet", "frozen", "fc6"),
            ("lite0", "finetune", None),
            ("lenet", "finetune", None),
        ]
    }
    assert [choice for choice, is_pooled in pooled.items() if is_pooled] == [("lite0", "frozen", "blocks.2")]


@pytest.mark.parametrize("place", pretrained.KNOWN["lite0"].places)
def test_the_head_is_as_wide_as_the_place(place: str) -> None:
    network = backbones.build(backbones.choose("lite0", "frozen", cut=place), width=1, classes=5)
    linear = network.bottleneck[0]
    assert isinstance(linear, nn.Linear)
    assert linear.in_features == pretrained.KNOWN["lite0"].places[place]
    assert linear.out_features == 256
    assert network.trunk_rate == 0


def test_a_place_that_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match=r"no cut 'fc6' on the track 'frozen'; it has: blocks.1, .*, pool, logits"):
        backbones.choose("lite0", "frozen", cut="fc6")
    with pytest.raises(UserError, match=r"no cut 'logits'; it has: conv3, fc6"):
        backbones.choose("alexnet", "late", cut="logits")


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Location:
    """Office-31 as if it were prepared."""
    monkeypatch.setattr(plan, "is_ready", lambda *_: True)
    monkeypatch.setattr(protocols, "digests", lambda *_, **__: {"source": "s", "target": "t", "test": "t"})
    monkeypatch.setattr(activations.store, "digest", lambda *_, **__: "d")
    return Location(tmp_path, None)


def test_an_experiment_runs_every_row_at_each_of_its_cuts(at_hand: Location) -> None:
    (experiment,) = (one for one in contract.papers()["ddc"].experiments if one.name == "placement")
    options = Options(experiments=("placement",), tasks=("amazon:webcam",), seeds=1)
    planned = plan.make("ddc", options, at_hand)
    found = [(cell.spec.method, cell.spec.cut, cell.uses[0].setting) for cell in planned.cells]
    rows = ("source_only", "ddc")
    assert found == [(row, cut, f"cut={cut}") for cut in experiment.cuts for row in rows]
    keys = [loading.activation_key(cell.spec, cell.task, "amazon", at_hand) for cell in planned.cells]
    assert {key.cut: key.pooled for key in keys} == {cut: cut.startswith("blocks") for cut in experiment.cuts}
    every = [cell.spec for cell in planned.cells]
    usual = plan.make("ddc", dataclasses.replace(options, experiments=("unsupervised",)), at_hand)
    for cell in usual.cells:
        assert cell.uses[0].setting == ""
        if cell.uses[0].row not in experiment.rows:
            continue
        at_pool = dataclasses.replace(cell.spec, recipe=every[0].recipe)
        assert at_pool.hash in {spec.hash for spec in every if spec.cut == "pool"}, "the usual place is among them"


def test_a_named_cut_is_the_only_one(at_hand: Location) -> None:
    options = Options(experiments=("placement",), tasks=("amazon:webcam",), seeds=1, cut="blocks.3")
    assert {cell.uses[0].setting for cell in plan.make("ddc", options, at_hand).cells} == {"cut=blocks.3"}


def test_the_papers_network_can_be_planned_without_its_weights(at_hand: Location) -> None:
    options = Options(experiments=("placement-alexnet",), tasks=("amazon:webcam",), seeds=1)
    planned = plan.make("ddc", options, at_hand)
    assert [cell.spec.cut for cell in planned.cells] == ["fc6", "fc6", "fc7", "fc7", "logits", "logits"]


def test_an_experiment_runs_every_row_under_each_of_its_statistics(at_hand: Location) -> None:
    options = Options(experiments=("frozen-trunk",), tasks=("amazon:webcam",), seeds=1)
    planned = plan.make("adabn", options, at_hand)
    assert [cell.uses[0].setting for cell in planned.cells] == [
        f"statistics={x}" for x in ("imagenet", "source", "own")
    ]
    domains = {"source": "amazon", "target": "webcam"}
    found = [
        {part: loading.activation_key(cell.spec, cell.task, name, at_hand).statistics for part, name in domains.items()}
        for cell in planned.cells
    ]
    amazon, webcam = (f"{name} d {activations.STATISTICS_IMAGES}" for name in domains.values())
    assert found == [
        {"source": "imagenet", "target": "imagenet"},
        {"source": amazon, "target": amazon},
        {"source": amazon, "target": webcam},
    ]
    usual = plan.make("adabn", dataclasses.replace(options, experiments=("table1-frozen",)), at_hand)
    spec = dataclasses.replace(planned.cells[0].spec, batchnorm=usual.cells[0].spec.batchnorm)
    assert usual.cells[0].spec.hash == spec.hash, "ImageNet's statistics are the usual ones"


def test_only_a_frozen_trunk_has_other_statistics_and_only_those_of_one_source(at_hand: Location) -> None:
    for name, track in (("lenet", "finetune"), ("lite0", "late"), ("mlp", "frozen")):
        options = Options(backbone=name, track=track, statistics="own")
        (experiment,) = (one for one in contract.papers()["dan"].experiments if one.name == "table1")
        with pytest.raises(UserError, match=r"no frozen trunk|no track"):
            plan.chosen_backbone(experiment, options)
    options = Options(experiments=("frozen-trunk",), tasks=("amazon+dslr:webcam",), seeds=1)
    with pytest.raises(UserError, match="several sources"):
        plan.make("adabn", options, at_hand)
