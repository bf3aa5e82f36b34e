"""Inputs as a perceptron sees them: histograms scaled jointly or by domain, photographs made grey."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.cell.loading import Data, load_data
from benchmarks.networks import backbones
from benchmarks.networks.feeding import grey, in_order, scaled
from datasets.protocols import Labelled, Problem, Unlabelled
from tests.benchmarks.cells import problem


def histograms(seed: int, n: int, rate: float) -> np.ndarray[Any, Any]:
    counts = np.random.default_rng(seed).poisson(rate * np.arange(1, 13), (n, 12)).astype(np.uint8)
    counts[:, 5] = 0  # a word that never occurs
    return counts


SOURCE, TARGET = histograms(0, 40, 2.0), histograms(1, 30, 3.0)
SOURCE[:, 0] += 20  # what sets the domains apart


def surf(backbone: str, **changes: Any) -> Data:
    """Two domains of histograms as a backbone takes them."""
    labels = np.zeros(40, dtype=np.int64)
    base = dataclasses.replace(
        problem(),
        source=Labelled(SOURCE, labels),
        target=Unlabelled(TARGET),
        test=Labelled(TARGET.copy(), labels[:30]),
        tested=np.arange(30),
    )
    return load_data(dataclasses.replace(base, **changes), backbones.choose(backbone, "finetune"), torch.device("cpu"))


def everything(inputs: Any) -> np.ndarray[Any, Any]:
    return torch.cat(list(in_order(inputs))).double().numpy()


def shares(counts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return counts / counts.sum(1, keepdims=True)


def test_joint_scaling_keeps_what_sets_the_domains_apart() -> None:
    data = surf("mlp")
    source, target = everything(data.source.inputs), everything(data.target)
    both = np.concatenate([shares(SOURCE), shares(TARGET)])
    deviation = np.where(both.std(0) > 0, both.std(0), 1)
    np.testing.assert_allclose(source, (shares(SOURCE) - both.mean(0)) / deviation, atol=1e-5)
    np.testing.assert_allclose(target, (shares(TARGET) - both.mean(0)) / deviation, atol=1e-5)
    assert source[:, 0].mean() - target[:, 0].mean() > 1
    assert (source[:, 5] == 0).all()


def test_scaling_per_domain_gives_both_the_same_means_and_deviations() -> None:
    data = surf("mlp-per-domain")
    for inputs, counts in ((data.source.inputs, SOURCE), (data.target, TARGET)):
        values = everything(inputs)
        used = np.arange(12) != 5
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(0)[used], 1, atol=1e-5)
        own = shares(counts)
        np.testing.assert_allclose(values[:, used], ((own - own.mean(0)) / own.std(0).clip(1e-9))[:, used], atol=1e-4)


@pytest.mark.parametrize("backbone", ["mlp", "mlp-per-domain"])
def test_every_role_is_scaled_with_its_domain(backbone: str) -> None:
    """Held-out source images as the source, granted and tested ones as the target; labels play no part."""
    few = np.zeros(7, dtype=np.int64)
    data = surf(
        backbone,
        held_out=Labelled(SOURCE[:7], few),
        labelled_target=Labelled(TARGET[:7], few),
        tested=None,
        test=Labelled(TARGET[3:10], few),
    )
    assert data.held_out is not None
    assert data.labelled_target is not None
    np.testing.assert_array_equal(everything(data.held_out.inputs), everything(data.source.inputs)[:7])
    np.testing.assert_array_equal(everything(data.labelled_target.inputs), everything(data.target)[:7])
    np.testing.assert_array_equal(everything(data.test.inputs), everything(data.target)[3:10])


def test_an_empty_histogram_is_the_mean_of_nothing() -> None:
    counts = np.zeros((3, 4), dtype=np.uint8)
    assert np.isfinite(scaled(counts, counts)).all()


def test_grey() -> None:
    image = np.array([[[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]]], dtype=np.uint8)
    assert grey(image).tolist() == [[[[76], [150]], [[29], [255]]]]
    assert grey(image).dtype == np.uint8


def photographs() -> Problem:
    """Two domains of 28 x 28 RGB images."""
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 3), dtype=np.uint8)
    labels = np.arange(20) % 3
    return dataclasses.replace(
        problem(),
        source=Labelled(images, labels),
        target=Unlabelled(images[::-1].copy()),
        test=Labelled(images[::-1].copy(), labels),
        tested=np.arange(20),
    )


def test_photographs_enter_a_perceptron_grey() -> None:
    choice = backbones.choose("mlp-photos", "finetune")
    data = load_data(photographs(), choice, torch.device("cpu"))
    (x,) = in_order(data.source.inputs)
    assert choice.backbone.side == 28
    assert x.shape == (20, 1, 28, 28)
    wanted = grey(photographs().source.images)[..., 0] * (2 / 255) - 1
    np.testing.assert_allclose(x[:, 0].numpy(), wanted, atol=1e-6)
    network = backbones.build(choice, width=data.width, classes=3)
    assert network(x).shape == (20, 3)
    assert "fc6" not in network.layer_sizes, "pixels are not trained"
    assert network.bottleneck[0].in_features == 784
    assert network.bottleneck[0].out_features == 256
