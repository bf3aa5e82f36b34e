"""The shallow rows: as the libraries have them, and blind to the target's labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import skada
import torch
from sklearn.svm import SVC
from torch import Tensor

from benchmarks.cell.training import run_cell
from methods import contract, shallow
from methods.contract import Domains
from methods.shallow import Config
from tests.benchmarks.cells import problem, spec
from tests.benchmarks.test_training import holds, reachable
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


def adapter(variant: str) -> Any:
    """A new one, as a user of the library makes it."""
    if variant == "sa":
        return skada.SubspaceAlignmentAdapter(n_components=6)
    return {"tca": skada.TransferComponentAnalysisAdapter, "coral": skada.CORALAdapter}[variant]()


def test_the_machine_alone_is_scikit_learns() -> None:
    machine = SVC(kernel="linear").fit(SOURCE_X.double().numpy(), SOURCE_Y.numpy())
    assert predicted(fitted("default"), TARGET_X) == machine.predict(TARGET_X.double().numpy()).tolist()


@pytest.mark.parametrize("variant", ALIGNED)
def test_aligned_rows_are_skadas_pipelines(variant: str) -> None:
    x = np.concatenate([SOURCE_X.double().numpy(), TARGET_X.double().numpy()])
    y = np.concatenate([SOURCE_Y.numpy(), np.full(len(TARGET_X), -1)])  # how skada masks a label
    where = np.repeat([1, -2], [len(SOURCE_X), len(TARGET_X)])
    pipeline = skada.make_da_pipeline(adapter(variant), SVC(kernel="linear")).fit(x, y, sample_domain=where)
    wanted = pipeline.predict(TARGET_X.double().numpy(), sample_domain=np.full(len(TARGET_X), -2))
    assert predicted(fitted(variant), TARGET_X) == wanted.tolist()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_is_classified_as_it_is_within_the_domain(variant: str) -> None:
    model = fitted(variant)
    parts = [label for part in TARGET_X.split(7) for label in predicted(model, part)]
    assert parts == predicted(model, TARGET_X)


@pytest.mark.parametrize("variant", ALIGNED)
def test_the_alignment_looks_at_the_target_and_the_machine_alone_does_not(variant: str) -> None:
    others = dataclasses.replace(domains(), target=lambda: iter([TARGET_X[:, [3, 4, 5, 0, 1, 2]] * 2]))
    model, other = fitted(variant), shallow.build(Config(variant), frozen_trunk())  # type: ignore[arg-type]
    shallow.begin(other, others)
    x = SOURCE_X.double().numpy()
    assert not np.allclose(*(shallow.aligned(one.alignment, x, shallow.SOURCE) for one in (model, other)))
    alone = shallow.build(Config(), frozen_trunk())
    shallow.begin(alone, others)
    assert alone.alignment is None
    assert predicted(alone, TARGET_X) == predicted(fitted("default"), TARGET_X)


def test_sa_keeps_as_many_components_as_both_domains_have() -> None:
    few = Domains(
        source=domains().source, target=lambda: iter([TARGET_X[:4]]), labelled_target=domains().labelled_target
    )
    model = shallow.build(Config("sa"), frozen_trunk())
    shallow.begin(model, few)
    assert shallow.aligned(model.alignment, TARGET_X[:4].double().numpy(), shallow.TARGET).shape == (4, 4)


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
