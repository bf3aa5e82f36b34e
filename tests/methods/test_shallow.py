"""The shallow rows: against slow references and skada, and blind to the target's labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from torch import Tensor

from benchmarks.cell.training import run_cell
from methods import contract, shallow
from methods.contract import Domains
from methods.shallow import Config
from tests.benchmarks.cells import problem, spec
from tests.benchmarks.test_training import holds, reachable
from tests.methods import reference
from tests.methods.training import CLASSES, domain, frozen_trunk, perceptron

SHIFT = 2.0
(SOURCE_X, SOURCE_Y), (TARGET_X, TARGET_Y) = domain(60, 1), domain(45, 2, shift=SHIFT)
ALIGNED = ("tca", "sa", "coral")
VARIANTS = list(shallow.METHOD.variants)


def domains(labelled_target: tuple[Tensor, Tensor] | None = None) -> Domains:
    """The inputs in parts, as the runner hands them out."""
    return Domains(
        source=lambda: zip(SOURCE_X.split(25), SOURCE_Y.split(25), strict=True),
        target=lambda: iter(TARGET_X.split(25)),
        labelled_target=lambda: iter([labelled_target] if labelled_target else []),
    )


def fitted(variant: str, labelled_target: tuple[Tensor, Tensor] | None = None) -> shallow.Shallow:
    model = shallow.build(shallow.METHOD.variants[variant], frozen_trunk())
    shallow.begin(model, domains(labelled_target))
    return model


def predicted(model: shallow.Shallow, x: Tensor) -> list[int]:
    logits = model(x)
    assert logits.shape == (len(x), CLASSES)
    assert logits.sum(1).eq(1).all(), "one class each"
    found: list[int] = logits.argmax(1).tolist()
    return found


def test_the_machine_alone_is_scikit_learns() -> None:
    machine = SVC(kernel="linear").fit(SOURCE_X.double().numpy(), SOURCE_Y.numpy())
    assert predicted(fitted("default"), TARGET_X) == machine.predict(TARGET_X.double().numpy()).tolist()


def mixed(n: int, seed: int, features: int = 9, scale: float = 1.0) -> np.ndarray:
    """Correlated features, float64, (n, features)."""
    random = np.random.default_rng(seed)
    return scale * (random.normal(size=(n, features)) @ random.normal(size=(features, features)) + random.normal())


DOMAINS = {
    "few features": (mixed(30, 0), mixed(21, 1)),
    "few source": (mixed(7, 2), mixed(25, 3)),
    "few target": (mixed(25, 4), mixed(8, 5, scale=3.0)),
}


def aligned(name: str, source: np.ndarray, target: np.ndarray, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    alignment = shallow.ALIGNMENTS[name].fit(source, target, classes)
    return alignment.source(source), alignment.target(target)


def same_but_for_signs(found: np.ndarray, wanted: np.ndarray) -> None:
    """Of the columns."""
    assert found.shape == wanted.shape
    signs = np.sign((found * wanted).sum(0))
    np.testing.assert_allclose(found, wanted * signs, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("which", DOMAINS)
@pytest.mark.parametrize(("classes", "mu"), [(1, 0.1), (2, 0.1), (1, 10.0)])
def test_transfer_components_are_the_leading_eigenvectors(
    which: str, classes: int, mu: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shallow, "MU", mu)
    source, target = DOMAINS[which]
    found = np.concatenate(aligned("transfer-components", source, target, classes))[:, ::-1]
    same_but_for_signs(found, np.concatenate(reference.transfer_components(source, target, mu, 3 * classes)))


def test_transfer_components_bring_the_domains_together() -> None:
    """The more, the less mu is; and of copies of few samples there are fewer."""
    source, target = mixed(40, 0), mixed(30, 0) + 1.0

    def discrepancy(mu: float) -> float:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shallow, "MU", mu)
            one, other = aligned("transfer-components", source, target)
            return float(np.square(one.mean(0) - other.mean(0)).sum())

    assert discrepancy(1e-4) < 0.5 * discrepancy(1e-2) < 0.25 * discrepancy(1.0)
    few = np.concatenate([source[:3]] * 20), np.concatenate([target[:2]] * 20)
    components = np.concatenate(aligned("transfer-components", *few))
    assert components.shape == (100, 4)
    np.testing.assert_allclose(components.std(0), 1)


@pytest.mark.parametrize("which", DOMAINS)
def test_subspace_alignment_turns_the_source_into_the_directions_of_the_target(which: str) -> None:
    source, target = DOMAINS[which]
    count = min(len(source), *target.shape)
    found = aligned("sa", source, target)
    assert [x.shape for x in found] == [(len(source), count), (len(target), count)], "as many as both domains have"
    known = min(count, len(target) - 1)  # of as many directions as samples, which are centred, the last is arbitrary
    for one, other in zip(found, reference.subspace_alignment(source, target, count), strict=True):
        same_but_for_signs(one[:, :known], other[:, :known])


@pytest.mark.parametrize("which", DOMAINS)
def test_correlation_alignment_colours_the_source_like_the_target(which: str) -> None:
    source, target = DOMAINS[which]
    for one, other in zip(
        aligned("coral", source, target), reference.correlation_alignment(source, target), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["sa", "coral"])
@pytest.mark.parametrize("which", DOMAINS)
def test_skada_aligns_alike(name: str, which: str) -> None:
    skada = pytest.importorskip("skada", reason="skada comes with PEERS=1; the slow references stand above")
    source, target = DOMAINS[which]
    count = min(len(source), *target.shape)
    theirs = skada.CORALAdapter() if name == "coral" else skada.SubspaceAlignmentAdapter(count, random_state=0)
    where = np.repeat([1, -2], [len(source), len(target)])
    wanted = theirs.fit_transform(np.concatenate([source, target]), sample_domain=where)
    np.testing.assert_allclose(np.concatenate(aligned(name, source, target)), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variant", ALIGNED)
def test_the_machine_learns_the_aligned_source(variant: str) -> None:
    x, y = SOURCE_X.double().numpy(), TARGET_X.double().numpy()
    source, target = aligned(shallow.METHOD.variants[variant].alignment, x, y, CLASSES)
    machine = SVC(kernel="linear").fit(source, SOURCE_Y.numpy())
    assert predicted(fitted(variant), TARGET_X) == machine.predict(target).tolist()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_is_classified_as_it_is_within_the_domain(variant: str) -> None:
    model = fitted(variant)
    parts = [label for part in TARGET_X.split(7) for label in predicted(model, part)]
    assert parts == predicted(model, TARGET_X)


@pytest.mark.parametrize("variant", ALIGNED)
def test_the_alignment_looks_at_the_target_and_the_machine_alone_does_not(variant: str) -> None:
    others = dataclasses.replace(domains(), target=lambda: iter([TARGET_X[:, [3, 4, 5, 0, 1, 2]] * 2]))
    models = fitted(variant), shallow.build(shallow.METHOD.variants[variant], frozen_trunk())
    shallow.begin(models[1], others)
    found = []
    for model in models:
        assert model.alignment is not None
        found.append(model.alignment.source(SOURCE_X.double().numpy()))
    assert found[0].shape != found[1].shape or not np.allclose(*found)
    alone = shallow.build(Config(), frozen_trunk())
    shallow.begin(alone, others)
    assert predicted(alone, TARGET_X) == predicted(fitted("default"), TARGET_X)


@pytest.mark.parametrize("variant", VARIANTS)
def test_granted_labels_are_learned_from(variant: str) -> None:
    lies = (TARGET_X, (TARGET_Y + 1) % CLASSES)
    without, with_lies, with_truth = fitted(variant), fitted(variant, lies), fitted(variant, (TARGET_X, TARGET_Y))
    truth = TARGET_Y.tolist()

    def right(model: shallow.Shallow) -> float:
        return float(np.mean(np.equal(predicted(model, TARGET_X), truth)))

    assert right(with_lies) < right(without)
    assert right(with_truth) >= right(without)


def test_only_features_are_classified() -> None:
    assert shallow.applies(Config(), frozen_trunk()) is None
    assert shallow.applies(Config(), perceptron()) is not None


# In a cell


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_target_label_reaches_it(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what it is given nor what it keeps holds them, and other labels change nothing but the score."""
    data = problem(n=40)
    seen: list[bool] = []
    predictions: list[Tensor] = []

    def begin(model: shallow.Shallow, parts: Domains) -> None:
        given = [*parts.source(), *parts.target(), *parts.labelled_target()]
        shallow.begin(model, parts)
        seen.append(any(holds(item, data.test.labels) for item in reachable(given, model)))
        predictions.append(torch.cat([model(x) for x in parts.target()]))

    spied = dataclasses.replace(shallow.METHOD, begin=begin)
    monkeypatch.setattr(contract, "load", lambda _name: spied)
    config = contract.config_values(shallow.METHOD.variants[variant])
    cell = dataclasses.replace(spec("source_only"), method="shallow", config=config, backbone="mlp-pixels")
    first = run_cell(cell, data, commit="test")
    other = dataclasses.replace(data, test=dataclasses.replace(data.test, labels=(data.test.labels + 1) % 3))
    second = run_cell(cell, other, commit="test")
    assert seen == [False, False]
    assert torch.equal(*predictions)
    assert first.value("accuracy") != second.value("accuracy")
    assert any(holds(item, data.test.labels) for item in reachable(data.test)), "the search itself works"


def test_a_cell_without_a_network_has_no_distances_and_one_look() -> None:
    record = run_cell(spec("shallow", backbone="mlp-pixels"), problem(n=40), commit="test")
    assert {value["metric"] for value in record.values} == {"accuracy"}
    assert len(record.history) == 1
    assert record.history[0]["test_accuracy"] == record.value("accuracy")
    other = run_cell(spec("shallow", backbone="mlp-pixels", seed=1), problem(n=40), commit="test")
    assert other.value("accuracy") == record.value("accuracy"), "nothing is random"
