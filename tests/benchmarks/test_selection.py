"""Rules that choose an evaluation: against slow references, and against what must not reach them."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.cell import evaluation
from benchmarks.cell.training import run_cell
from tests.benchmarks.cells import problem, spec

random = np.random.default_rng(5)


def test_the_rules_take_the_epochs_that_they_like_best() -> None:
    history = [
        {"test_accuracy": 60.0, "target_entropy": 0.9, "source_accuracy": 80.0, "iwcv": 0.5, "dev": 0.3, "snd": 2.0},
        {"test_accuracy": 70.0, "target_entropy": 0.2, "source_accuracy": 90.0, "iwcv": 0.6, "dev": 0.2, "snd": 1.0},
        {"test_accuracy": 90.0, "target_entropy": 0.2, "source_accuracy": 90.0, "iwcv": 0.7, "dev": 0.1, "snd": 3.0},
        {"test_accuracy": 80.0, "target_entropy": 0.3, "source_accuracy": 85.0, "iwcv": 0.4, "dev": 0.4, "snd": 2.5},
    ]
    assert evaluation.select(history) == {
        "last": 80.0, "entropy": 70.0, "source": 70.0, "iwcv": 80.0, "dev": 90.0, "snd": 90.0, "oracle": 90.0,
    }  # fmt: skip
    without = [{name: epoch[name] for name in ("test_accuracy", "target_entropy")} for epoch in history]
    assert set(evaluation.select(without)) == {"last", "entropy", "oracle"}


def slow_density(p: np.ndarray) -> float:
    """SND of predicted distributions, sample by sample."""
    unit = [row / math.sqrt(sum(v * v for v in row)) for row in p]
    entropies = []
    for i, one in enumerate(unit):
        similar = [math.exp(float(one @ other) / 0.05) for j, other in enumerate(unit) if j != i]
        shares = [value / sum(similar) for value in similar]
        entropies.append(-sum(share * math.log(share) for share in shares))
    return sum(entropies) / len(entropies)


def test_neighbourhood_density() -> None:
    logits = torch.from_numpy(random.normal(size=(12, 4)) * 2)
    assert evaluation.neighbourhood_density(logits) == pytest.approx(slow_density(logits.softmax(1).numpy()), rel=1e-10)
    same = torch.tensor([[3.0, 0.0, 1.0]]).repeat(9, 1)
    assert evaluation.neighbourhood_density(same) == pytest.approx(math.log(8))
    sure = torch.eye(6) * 1e4  # nobody has a neighbour, all others are alike
    assert evaluation.neighbourhood_density(sure) == pytest.approx(math.log(5))


def features() -> tuple[np.ndarray, ...]:
    """Held-out, training and target features of two overlapping domains, and the losses of the first."""
    held_out, train = (random.normal(size=(n, 3)).astype(np.float32) for n in (40, 90))
    target = (random.normal(size=(60, 3)) + np.array([0.7, 0, 0])).astype(np.float32)
    return random.exponential(size=40), held_out, train, target


def test_risks_follow_the_formulas() -> None:
    losses, held_out, train, target = features()
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    classifier.fit(np.concatenate([train, target]), [0] * 90 + [1] * 60)
    weights = [90 / 60 * p[1] / p[0] for p in classifier.predict_proba(held_out)]
    assert 0.5 < np.mean(weights) < 2
    weighted = [w * loss for w, loss in zip(weights, losses, strict=True)]
    mean_w, mean_l = np.mean(weights), np.mean(weighted)
    products = [(a - mean_l) * (w - mean_w) for a, w in zip(weighted, weights, strict=True)]
    eta = -sum(products) / sum((w - mean_w) ** 2 for w in weights)
    found = evaluation.risks(losses, held_out, train, target)
    assert found["iwcv"] == pytest.approx(mean_l)
    assert found["dev"] == pytest.approx(mean_l + eta * mean_w - eta)
    constant = evaluation.risks(np.full(40, 2.0), held_out, train, target)
    assert constant["dev"] == pytest.approx(2.0), "the control variate takes away all that the weights add"
    assert constant["iwcv"] == pytest.approx(2 * mean_w)


def test_a_sample_far_from_both_domains_has_a_finite_weight() -> None:
    """A feature that hardly moves in training and much in a held-out sample."""
    losses, held_out, train, target = features()
    train[:, 0], target[:, 0] = 0.0, 0.0
    target[0, 0] = 1e-6
    held_out[0, 0] = 1e9
    assert all(map(np.isfinite, evaluation.risks(losses, held_out, train, target).values()))


def test_one_large_weight_does_not_drown_the_rest_of_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside rational numbers.  In single precision it is off by 1.3 here."""
    losses, held_out, train, target = features()

    class Sure:
        def fit(self, x: np.ndarray, y: np.ndarray) -> Sure:
            return self

        def decision_function(self, x: np.ndarray) -> np.ndarray:
            return np.where(np.arange(len(x)) == 7, np.float32(24.0), x[:, 0]).astype(np.float32)

    monkeypatch.setattr(evaluation, "two_sample_classifier", Sure)
    log_odds = Sure().decision_function(held_out)
    w = [Fraction(float(one)) for one in 90 / 60 * np.exp(log_odds)]
    wl = [one * Fraction(loss) for one, loss in zip(w, losses.tolist(), strict=True)]
    mean_w, mean_l = sum(w) / len(w), sum(wl) / len(wl)
    eta = -sum((a - mean_l) * (b - mean_w) for a, b in zip(wl, w, strict=True)) / sum((b - mean_w) ** 2 for b in w)
    found = evaluation.risks(losses, held_out, train, target)
    assert found["iwcv"] == pytest.approx(float(mean_l))
    assert found["dev"] == pytest.approx(float(mean_l + eta * mean_w - eta), abs=1e-3)


def test_the_control_variate_is_that_of_skada() -> None:
    """skada splits the source itself; the same split, features and classifier give the same risk."""
    metrics = pytest.importorskip("skada.metrics", reason="skada comes with PEERS=1; the formulas are tested above")

    class Told(Pipeline):
        """Predicts by the first feature, whatever the domain."""

        def predict_proba(self, x: np.ndarray, **_: object) -> np.ndarray:
            p = 1 / (1 + np.exp(-x[:, 0]))
            return np.stack([1 - p, p], axis=1)

    seen: dict[str, np.ndarray] = {}

    def loss(y: np.ndarray, p: np.ndarray) -> np.ndarray:
        seen["losses"] = -np.log(p[np.arange(len(y)), y])
        return seen["losses"][:, None]

    class Spying(LogisticRegression):
        def fit(self, x: np.ndarray, y: np.ndarray) -> Spying:
            seen["train"], seen["target"] = x[y == 1], x[y == 0]
            self.inner = evaluation.two_sample_classifier().fit(x, 1 - y)
            return self

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            seen["held_out"] = x
            return self.inner.predict_proba(x)[:, ::-1]

    _, _, source, target = features()
    x = np.concatenate([source, target])
    y = random.integers(0, 2, len(x))
    domain = np.array([1] * len(source) + [-2] * len(target))
    pipeline = Told([("classifier", LogisticRegression())])
    scorer = metrics.DeepEmbeddedValidation(domain_classifier=Spying(), loss_func=loss, random_state=0)
    theirs = -scorer._score(None, pipeline, x, y, sample_domain=domain)
    ours = evaluation.risks(seen["losses"], seen["held_out"], seen["train"], seen["target"])
    assert ours["dev"] == pytest.approx(theirs)


def test_a_cell_with_held_out_source_has_every_rule_and_no_target_label_decides_them() -> None:
    of = dataclasses.replace(spec("dan"), holdout=0.25)
    given = problem()
    part = np.arange(len(given.source.labels)) % 4 == 0
    held_out = dataclasses.replace(given.source, images=given.source.images[part], labels=given.source.labels[part])
    rest = dataclasses.replace(given.source, images=given.source.images[~part], labels=given.source.labels[~part])
    given = dataclasses.replace(given, source=rest, held_out=held_out)
    record = run_cell(of, given, commit="")
    rules = {row["selection"] for row in record.values if row["metric"] == "accuracy"}
    assert rules == {"last", "entropy", "source", "iwcv", "dev", "snd", "oracle"}

    turned = dataclasses.replace(given.test, labels=(given.test.labels + 1) % 3)
    other = run_cell(of, dataclasses.replace(given, test=turned), commit="")
    criteria = ("target_entropy", "source_accuracy", "iwcv", "dev", "snd")
    for one, two in zip(record.history, other.history, strict=True):
        assert [one[name] for name in criteria] == [two[name] for name in criteria]
        assert one["test_accuracy"] != two["test_accuracy"]
