"""``methods.kernels`` against slow loops, closed forms and the properties that the formulas promise."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from methods import kernels
from tests.methods import reference

PAPER = kernels.powers(-8, 8, 0.5)
AUTHORS = kernels.powers(-2, 2, 1)
FAMILIES = {"paper": PAPER, "authors": AUTHORS, "single": (0.0,), "gaps": (3.0, -1.5, 0.0, 1.0, -4.0)}
ESTIMATES = ["linear", "unbiased", "biased"]
UNBIASED = ["linear", "unbiased"]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def simplex(size: int, seed: int = 0) -> Tensor:
    weights = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return weights / weights.sum()


def estimate(
    name: str, source: Tensor, target: Tensor, beta: Tensor, exponents: tuple[float, ...], gamma: Tensor | None = None
) -> Tensor:
    """MMD^2 by the library's pieces put together as a method does it."""
    distances = kernels.pair_distances(torch.cat([source, target]))
    gamma = kernels.median(distances) if gamma is None else gamma
    n, m = len(source), len(target)
    if name == "linear":
        values = kernels.gaussians(kernels.quad_tuple_distances(source, target), gamma, exponents)
        return kernels.quad_tuple_g(values).mean(0) @ beta.to(values.dtype)
    values = kernels.gaussian_sum(distances, gamma, beta, exponents)
    if name == "unbiased":
        return kernels.mmd_unbiased(values, n, m)
    return kernels.mmd_biased(values, n, m, diagonal=beta.sum().to(values.dtype))


def value_and_gradient(f: Callable[[Tensor, Tensor], Tensor], source: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    source, target = source.clone().requires_grad_(), target.clone().requires_grad_()
    value = f(source, target)
    return (value.detach(), *torch.autograd.grad(value, [source, target]))


# Value and gradient against the loops


@pytest.mark.parametrize("sizes", [(4, 4), (5, 5), (4, 7), (6, 3)], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ESTIMATES)
def test_estimator_equals_the_double_loop(name: str, family: str, sizes: tuple[int, int]) -> None:
    exponents = FAMILIES[family]
    source, target = normal(sizes[0], 3, seed=1), normal(sizes[1], 3, seed=2) + 0.5
    beta = simplex(len(exponents), seed=3)
    gamma = reference.bandwidth(source, target, "median")

    ours = value_and_gradient(lambda s, t: estimate(name, s, t, beta, exponents), source, target)
    slow = value_and_gradient(
        lambda s, t: reference.ESTIMATORS[name](s, t, gamma, beta.tolist(), exponents), source, target
    )
    for a, b in zip(ours, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert slow[1].abs().max() > 1e-3  # the comparison of gradients is not one of zeros


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 9), features=st.integers(1, 6), scale=st.sampled_from([1e-2, 1.0, 30.0]), seed=st.integers(0, 99)
)
def test_pair_distances_and_their_gradient(n: int, features: int, scale: float, seed: int) -> None:
    x = (scale * normal(n, features, seed=seed)).requires_grad_()
    weights = normal(n * (n - 1) // 2, seed=seed + 1)
    slow = torch.stack([reference.distance(x[i], x[j]) for i in range(n) for j in range(i + 1, n)])
    ours = kernels.pair_distances(x)
    torch.testing.assert_close(ours, slow, rtol=1e-9, atol=1e-12 * scale**2)
    (a,) = torch.autograd.grad((ours * weights).sum(), x)
    (b,) = torch.autograd.grad((slow * weights).sum(), x)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11 * scale)


def test_distances_far_from_the_origin_keep_their_digits() -> None:
    x = normal(20, 5, dtype=torch.float32) + 1000.0
    exact = torch.nn.functional.pdist(x.double()).square()
    torch.testing.assert_close(kernels.pair_distances(x).double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_chained_squarings_agree_with_exponentials_in_float32(family: str) -> None:
    exponents = FAMILIES[family]
    distances = torch.cat([torch.zeros(1), torch.logspace(-6, 4, 4000)]).requires_grad_()
    gamma = torch.tensor(1.7)
    for i, u in enumerate(exponents):
        beta = torch.zeros(len(exponents), dtype=torch.float64)
        beta[i] = 1
        value = kernels.gaussian_sum(distances, gamma, beta, exponents)
        (slope,) = torch.autograd.grad(value.sum(), distances)
        rate = 1 / (gamma.double() * 2.0**u)
        exact = torch.exp(-distances.detach().double() * rate)
        assert (value.detach().double() - exact).abs().max() < 2e-6
        assert (slope.double() + rate * exact).abs().max() < 2e-6 * rate
        direct = kernels.gaussians(distances.detach(), gamma, exponents)[:, i].double()
        assert (direct - exact).abs().max() < 3e-7


@pytest.mark.parametrize("family", FAMILIES)
def test_no_chain_is_longer_than_four_squarings(family: str) -> None:
    exponents = FAMILIES[family]
    chains = kernels._chains(exponents)
    assert sorted(chains.order) == list(range(len(exponents)))
    assert len(chains.levels) - 1 <= 4
    start = 0
    for previous, size in zip(chains.levels, chains.levels[1:], strict=False):
        for i in range(size):
            assert exponents[chains.order[start + previous + i]] == exponents[chains.order[start + i]] - 1
        start += previous
    if family == "paper":
        assert len(exponents) == 33
        assert chains.levels[0] == 8


# Bandwidths


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(2**-10, 1e3, width=32), min_size=1, max_size=12))
def test_median_and_mean_are_numpys(values: list[float]) -> None:
    distances = torch.tensor(values, dtype=torch.float64)
    assert kernels.median(distances).item() == pytest.approx(np.median(values), rel=1e-12)
    assert kernels.mean(distances).item() == pytest.approx(np.mean(values), rel=1e-12)


@pytest.mark.parametrize("rule", ["median", "mean"])
def test_bandwidth_leaves_out_the_diagonal_and_has_no_gradient(rule: str) -> None:
    source, target = normal(5, 3), normal(4, 3, seed=1).requires_grad_()
    gamma = getattr(kernels, rule)(kernels.pair_distances(torch.cat([source, target])))
    assert not gamma.requires_grad
    assert gamma.item() == pytest.approx(reference.bandwidth(source, target, rule), rel=1e-12)


# Properties


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 8), m=st.integers(2, 8), seed=st.integers(0, 999), name=st.sampled_from(ESTIMATES))
def test_symmetric_in_the_domains(n: int, m: int, seed: int, name: str) -> None:
    source, target = normal(n, 4, seed=seed), normal(m, 4, seed=seed + 1) + 1
    beta = simplex(33, seed=seed)
    torch.testing.assert_close(estimate(name, source, target, beta, PAPER), estimate(name, target, source, beta, PAPER))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 8), m=st.integers(2, 8), seed=st.integers(0, 999), name=st.sampled_from(["unbiased", "biased"]))
def test_quadratic_estimators_ignore_the_order_of_samples(n: int, m: int, seed: int, name: str) -> None:
    source, target = normal(n, 4, seed=seed), normal(m, 4, seed=seed + 1) + 1
    beta = simplex(5, seed=seed)
    order = np.random.default_rng(seed)
    shuffled = source[order.permutation(n)], target[order.permutation(m)]
    torch.testing.assert_close(
        estimate(name, source, target, beta, AUTHORS), estimate(name, *shuffled, beta, AUTHORS), rtol=1e-9, atol=1e-12
    )


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 8), m=st.integers(1, 8), seed=st.integers(0, 999))
def test_biased_estimator_is_not_negative(n: int, m: int, seed: int) -> None:
    source, target = normal(n, 4, seed=seed), normal(m, 4, seed=seed + 1)
    assert estimate("biased", source, target, simplex(33, seed), PAPER) > -1e-12


def test_biased_estimator_is_zero_on_identical_samples() -> None:
    x = normal(9, 4)
    beta = simplex(33)
    assert abs(estimate("biased", x, x.clone(), beta, PAPER)) < 1e-14
    assert estimate("biased", x, x + 0.5, beta, PAPER) > 1e-2
    # Weights that do not sum to 1 change k(x, x) too.
    assert abs(estimate("biased", x, x.clone(), 5 * beta, PAPER)) < 1e-13


@pytest.mark.parametrize("sizes", [(8, 8), (6, 11)], ids=str)
@pytest.mark.parametrize("name", UNBIASED)
def test_unbiased_estimators_have_mean_zero_and_go_negative(name: str, sizes: tuple[int, int]) -> None:
    # Also with the batch's own median: it does not change when samples are exchanged between equal distributions.
    n, m = sizes
    draws = normal(600, n + m, 3, seed=5)
    beta = simplex(33, seed=1)
    values = torch.stack([estimate(name, x[:n], x[n:], beta, PAPER) for x in draws])
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean()) < 3 * error
    assert 0.2 < (values < 0).double().mean() < 0.8
    biased = torch.stack([estimate("biased", x[:n], x[n:], beta, PAPER) for x in draws])
    assert biased.mean() > 3 * error  # the same test rejects the biased estimator


@pytest.mark.parametrize("sizes", [(8, 8), (6, 11)], ids=str)
@pytest.mark.parametrize("name", UNBIASED)
def test_unbiased_estimators_estimate_the_distance_of_two_gaussians(name: str, sizes: tuple[int, int]) -> None:
    # For N(0, I) and N(delta, I) in p dimensions and exp(-|x - y|^2 / gamma):
    # MMD^2 = 2 (1 + 4 / gamma)^(-p / 2) (1 - exp(-|delta|^2 / (gamma + 4))).
    n, m = sizes
    p, gamma, shift = 3, 4.0, 1.0
    truth = 2 * (1 + 4 / gamma) ** (-p / 2) * (1 - math.exp(-p * shift**2 / (gamma + 4)))
    draws = normal(600, n + m, p, seed=6)
    constant = torch.tensor(gamma, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    values = torch.stack([estimate(name, x[:n], x[n:] + shift, one, (0.0,), constant) for x in draws])
    error = values.std() / math.sqrt(len(values))
    assert error < truth / 10
    assert abs(values.mean() - truth) < 3 * error


def test_linear_estimator_uses_each_sample_once_in_order() -> None:
    source, target = normal(7, 3), normal(5, 3, seed=1)
    gamma = torch.tensor(2.0, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    value = estimate("linear", source, target, one, (0.0,), gamma)
    assert value == estimate("linear", source[:4], target[:4], one, (0.0,), gamma)
    assert value != estimate("linear", source[[1, 2, 3, 0]], target[:4], one, (0.0,), gamma)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("level", [0.0, 0.3, -1e4])
@pytest.mark.parametrize("name", ESTIMATES)
def test_collapsed_features_give_zero_with_a_finite_gradient(name: str, level: float, dtype: torch.dtype) -> None:
    x = torch.full((6, 40), level, dtype=dtype)
    beta = simplex(33)
    value, *gradients = value_and_gradient(lambda s, t: estimate(name, s, t, beta, PAPER), x, x[:5])
    assert abs(value) < 1e-6
    for gradient in gradients:
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e-3


@pytest.mark.parametrize("name", ESTIMATES)
def test_one_collapsed_domain(name: str) -> None:
    beta = simplex(33)
    f = lambda s, t: estimate(name, s, t, beta, PAPER)  # noqa: E731
    value, *gradients = value_and_gradient(f, torch.zeros(8, 4), normal(4, 4, dtype=torch.float32))
    assert value > 0
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("sizes", [(1, 4), (4, 1)], ids=str)
@pytest.mark.parametrize("name", UNBIASED)
def test_a_single_sample_of_a_domain_is_refused(name: str, sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="needs two samples of each domain; there are"):
        estimate(name, normal(sizes[0], 3), normal(sizes[1], 3), simplex(5), AUTHORS)


def test_first_use_under_inference_mode_does_not_spoil_training() -> None:
    source, target, beta = normal(13, 3), normal(12, 3, seed=1), simplex(3)
    exponents = (1.25, 0.25, -0.75)  # sizes and kernels that no other test has put into the caches
    with torch.inference_mode():
        expected = [estimate(name, source, target, beta, exponents).item() for name in ESTIMATES]
    for name, value in zip(ESTIMATES, expected, strict=True):
        assert value_and_gradient(lambda s, t: estimate(name, s, t, beta, exponents), source, target)[0] == value  # noqa: B023


def test_powers() -> None:
    assert AUTHORS == (-2, -1, 0, 1, 2)
    assert PAPER[:3] == (-8, -7.5, -7)
    assert PAPER[-1] == 8


def test_effective_number() -> None:
    assert kernels.effective_number([1.0, 0.0]) == 1
    assert kernels.effective_number([0.25] * 4) == 4


# The quadratic programme


def ratio(beta: np.ndarray, d: np.ndarray, q: np.ndarray) -> np.ndarray:
    """beta' (Q + eps I) beta at d' beta = 1, for any positive multiple of such a beta; infinite where d' beta <= 0."""
    level = beta @ d
    value = np.einsum("...i,ij,...j->...", beta, q + 1e-3 * np.eye(len(d)), beta)
    return np.where(level > 0, value / np.where(level > 0, level, 1) ** 2, np.inf)


def programme(size: int, seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    root = random.normal(size=(size, size))
    return scale * random.normal(size=size), root @ root.T * random.choice([1e-4, 1e-2, 1.0])


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("seed", range(12))
def test_kernel_weights_equal_brute_force(size: int, seed: int) -> None:
    d, q = programme(size, seed)
    beta = kernels.kernel_weights(d, q)
    if (d <= 0).all():
        assert beta is None
        return
    steps = np.linspace(0, 1, 401)
    if size == 2:
        grid = np.stack([steps, 1 - steps], axis=1)
    else:
        a, b = np.meshgrid(steps, steps)
        grid = np.stack([a, b, 1 - a - b], axis=-1)[a + b <= 1 + 1e-12].clip(0)
    values = ratio(grid, d, q)
    assert beta is not None
    assert ratio(beta, d, q) <= values.min() * (1 + 1e-9)
    assert ratio(beta, d, q) == pytest.approx(values.min(), rel=2e-2)
    np.testing.assert_allclose(beta, grid[values.argmin()], atol=0.02)


def alike(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of real kernels, whose widest hardly differ and whose narrowest are next to 0."""
    random = np.random.default_rng(seed)
    shift = random.choice([0.0, 0.1, 0.3])
    source, target = random.normal(size=(2, 64, 8)), random.normal(size=(2, 64, 8)) + shift

    def values(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(-((x - y) ** 2).sum(1)[:, None] / (16 * 2.0 ** np.linspace(-8, 8, size)))

    g = values(*source) + values(*target) - values(source[0], target[1]) - values(source[1], target[0])
    return g.mean(0), np.cov(g.T, bias=True)


@pytest.mark.parametrize("made", [programme, alike])
@pytest.mark.parametrize("size", [2, 5, 7])
def test_kernel_weights_are_those_of_the_best_set_of_kernels(
    made: Callable[[int, int], tuple[np.ndarray, np.ndarray]], size: int
) -> None:
    for seed in range(15):
        d, q = made(size, seed)
        beta = kernels.kernel_weights(d, q)
        if (d <= 0).all():
            assert beta is None
        else:
            assert beta is not None
            np.testing.assert_allclose(beta, reference.kernel_weights(d, q), rtol=1e-9, atol=1e-11)


def assert_optimal(beta: np.ndarray, d: np.ndarray, q: np.ndarray, tolerance: float) -> None:
    """The conditions of Karush, Kuhn and Tucker, which the minimum alone satisfies."""
    assert beta.sum() == pytest.approx(1)
    assert (beta >= 0).all()
    solution = beta / (d @ beta)
    slope = 2 * (q + 1e-3 * np.eye(len(d))) @ solution
    multipliers = slope - (slope @ solution) * d
    tolerance *= np.abs(slope).max()
    assert (multipliers >= -tolerance).all()
    assert (np.abs(multipliers[beta > 1e-8]) <= tolerance).all()


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 33), seed=st.integers(0, 9999), scale=st.sampled_from([1e-6, 1e-2, 1.0]))
def test_kernel_weights_satisfy_the_optimality_conditions(size: int, seed: int, scale: float) -> None:
    d, q = programme(size, seed, scale)
    beta = kernels.kernel_weights(d, q)
    if beta is None:
        assert (d <= 0).all()
    else:
        assert_optimal(beta, d, q, 1e-7)


@pytest.mark.parametrize("size", [19, 33])
def test_kernels_that_are_much_alike_take_no_weight_from_the_best(size: int) -> None:
    """Where some solvers of non-negative least squares go wrong."""
    solved = 0
    for seed in range(60):
        d, q = alike(size, seed)
        if d.max() > 1e-6:
            beta = kernels.kernel_weights(d, q)
            assert beta is not None
            assert_optimal(beta, d, q, 1e-9)
            solved += 1
    assert solved > 40


def test_kernel_weights_do_not_depend_on_the_scale_of_d() -> None:
    d, q = programme(6, 3)
    np.testing.assert_allclose(kernels.kernel_weights(d, q), kernels.kernel_weights(1e-30 * d, q), atol=1e-9)


def test_no_weights_without_a_positive_d() -> None:
    q = np.eye(3)
    assert kernels.kernel_weights(np.array([-1.0, 0.0, -0.1]), q) is None
    assert kernels.kernel_weights(np.zeros(3), q) is None
    assert kernels.kernel_weights(np.full(3, np.nan), q) is None
    np.testing.assert_allclose(kernels.kernel_weights(np.array([-1.0, 0.0, 0.1]), q), [0, 0, 1])


def test_no_weights_where_the_positive_d_drown_in_rounding() -> None:
    d, q = programme(3, 0)
    assert d.min() < 0 < d.max()
    assert kernels.kernel_weights(np.where(d > 0, 1e-20 * d, d), q) is None


def test_equal_independent_kernels_share_evenly() -> None:
    np.testing.assert_allclose(kernels.kernel_weights(np.full(4, 0.2), np.eye(4)), np.full(4, 0.25))
