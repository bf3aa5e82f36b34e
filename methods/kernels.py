"""Gaussian kernels and estimators of the squared maximum mean discrepancy (MMD), shared by the MMD papers.

Notation: source samples s_1 .. s_n, target samples t_1 .. t_m, one activation vector each.  The samples of both domains
are concatenated, source first, and everything quadratic is kept for the P = N (N - 1) / 2 *distinct pairs* i < j of the
N = n + m samples, in the order of ``torch.triu_indices``: kernel matrices are symmetric with a known diagonal, so half
of the exponentials can be saved.

* ``pair_distances``    squared distances of all pairs, from one matrix product
* ``among_first``       those among the first n samples, such as the source's
* ``median``, ``mean``  bandwidths gamma from those distances, without gradient
* ``gaussian_sum``      sum_u beta_u exp(-d / (2^u gamma)), by few exponentials and chained squarings
* ``gaussians``         each exp(-d / (2^u gamma)) separately, for the few pairs of the linear-time estimator
* ``mmd_unbiased``, ``mmd_biased``           quadratic-time estimators from the kernel values of all pairs
* ``quad_tuple_distances``, ``quad_tuple_g`` the linear-time estimator
* ``joint_mmd``         the unbiased one of several activations together, as a measure
* ``mmd_of_means``      the biased estimate under the kernel x'y, which needs no pairs
* ``kernel_weights``    beta by the quadratic programme of MK-MMD

The quadratic estimators, over ordered pairs and for a kernel that is constant on the diagonal:

    unbiased  sum_{i != j} k(s_i, s_j) / (n (n - 1)) + sum_{i != j} k(t_i, t_j) / (m (m - 1))
              - 2 sum_{i, j} k(s_i, t_j) / (n m)
    biased    sum_{i, j} k(s_i, s_j) / n^2 + sum_{i, j} k(t_i, t_j) / m^2 - 2 sum_{i, j} k(s_i, t_j) / (n m)

The unbiased and the linear-time estimator have mean zero for equal distributions, so about half of their values are
then negative.  They are left negative: a clamp would bias the estimate and stop its gradient.

Collapsed features.  If all samples coincide the median distance is 0 and exp(-0 / 0) is undefined.  A bandwidth below
``COLLAPSED`` is replaced by 1: all kernels are then 1, every estimator is 0 and so is its gradient, up to rounding.

The two ``torch.autograd.Function``s below have closed-form gradients, so that 33 kernels on 64 + 64 samples of 256
features cost less than three times the two matrix products that no implementation can avoid.  They cannot be
differentiated twice.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

COLLAPSED = 1e-12
"""Bandwidths (squared distances) up to this one count as zero."""

SQUARINGS = 4
"""Longest chain of squarings from a direct exponential; n squarings multiply its relative rounding error by 2^n."""

EPSILON = 1e-3
"""Ridge of the quadratic programme."""
LINEAR_TIME = ("linear", "cyclic")
"""Estimators over quad-tuples: disjoint and overlapping."""

PRECISION = 2.0**-52
"""The programme is solved until nothing changes beyond rounding."""

# exp(x) is computed as exp2(x / log 2).  It is as accurate, and on the CPU torch.exp slows down up to tenfold where its
# results underflow, as they do for the narrowest kernels.
LOG2E = math.log2(math.e)


class _Pairs(NamedTuple):
    """Indices between the pairs i < j and the (N, N) matrix, int64."""

    first: Tensor
    """i of each pair, (P,)."""
    second: Tensor
    """j of each pair, (P,)."""
    upper: Tensor
    """Pair -> place in the flattened matrix, (P,)."""
    full: Tensor
    """Place in the flattened matrix -> pair, (N * N,); 0 on the diagonal, which belongs to no pair."""


# Constant tensors are cached.  The first request may come under inference mode, where new tensors could never be used
# in a training step, so that mode is left explicitly.


@lru_cache(maxsize=16)
def _pairs(n: int, device: torch.device) -> _Pairs:
    with torch.inference_mode(False):
        first, second = torch.triu_indices(n, n, 1, device=device)
        number = torch.zeros(n, n, dtype=torch.int64, device=device)
        number[first, second] = torch.arange(len(first), device=device)
        return _Pairs(first, second, first * n + second, (number + number.T).reshape(-1))


@lru_cache(maxsize=16)
def _among_first(n: int, m: int, device: torch.device) -> Tensor:
    """Which pairs of n + m samples are pairs of the first n, int64, (n (n - 1) / 2,)."""
    with torch.inference_mode(False):
        return torch.nonzero(_pairs(n + m, device).second < n).squeeze(1)


@lru_cache(maxsize=16)
def _mmd_weights(n: int, m: int, biased: bool, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Weight of each pair in the quadratic estimators, (P,); a pair i < j stands for both orders."""
    with torch.inference_mode(False):
        first, second = torch.triu_indices(n + m, n + m, 1, device=device)
        bias = 0 if biased else 1
        weights = torch.full(first.shape, -2 / (n * m), dtype=dtype, device=device)
        weights[second < n] = 2 / (n * (n - bias))
        weights[first >= n] = 2 / (m * (m - bias))
        return weights


class _Chains(NamedTuple):
    """How the kernels of a family are computed from one another by squaring."""

    order: tuple[int, ...]
    """Kernels level by level: those computed by exponentials, their squares, the squares of those, ..."""
    levels: tuple[int, ...]
    """Number of kernels at each level; those of a level are the squares of the first ones of the level before."""


@lru_cache(maxsize=16)
def _chains(exponents: tuple[float, ...]) -> _Chains:
    """Exponents that descend by 1 form a chain; a chain is cut after ``SQUARINGS`` squarings."""
    place = {u: i for i, u in enumerate(exponents)}
    chains: list[list[int]] = []
    for u in sorted(place, reverse=True):
        chain = next((c for c in chains if exponents[c[-1]] == u + 1 and len(c) <= SQUARINGS), None)
        if chain is None:
            chains.append([place[u]])
        else:
            chain.append(place[u])
    chains.sort(key=len, reverse=True)
    levels = [[chain[level] for chain in chains if len(chain) > level] for level in range(len(chains[0]))]
    return _Chains(tuple(i for level in levels for i in level), tuple(len(level) for level in levels))


class _Family(NamedTuple):
    """The constants of ``_GaussianSum``, its kernels in the level order of ``_Chains``."""

    order: Tensor
    """int64, (kernels,)."""
    minus: Tensor
    """-2^u in that order, (kernels,)."""
    levels: tuple[int, ...]
    """As in ``_Chains``."""


@lru_cache(maxsize=16)
def _family(exponents: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> _Family:
    chains = _chains(exponents)
    with torch.inference_mode(False):
        order = torch.tensor(chains.order, device=device)
        return _Family(order, -_divisors(exponents, device, dtype)[order], chains.levels)


@lru_cache(maxsize=16)
def _divisors(exponents: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """2^u, (kernels,)."""
    with torch.inference_mode(False):
        return torch.tensor([2.0**u for u in exponents], dtype=dtype, device=device)


class _PairDistances(torch.autograd.Function):
    """x (N, features) -> squared distances of all pairs (P,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        # Distances do not change with the origin; about the mean the Gram matrix loses the fewest digits.
        centred = x - x.mean(0)
        gram = centred @ centred.T
        norms = gram.diagonal()
        # Sums over the whole matrix are faster than norms gathered for each pair.
        matrix = torch.add(gram * -2, norms.unsqueeze(1)).add_(norms)
        distances = matrix.view(-1).index_select(0, _pairs(len(x), x.device).upper)
        ctx.save_for_backward(centred)
        return distances.clamp_(min=0)  # they are negative only by rounding

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # d_ij = |x_i - x_j|^2, so dL/dx_i = 2 sum_j G_ij (x_i - x_j) with G the symmetric matrix of gradients.
        (centred,) = ctx.saved_tensors
        n = len(centred)
        matrix = grad.index_select(0, _pairs(n, grad.device).full).reshape(n, n).fill_diagonal_(0)
        return torch.addmm(matrix.sum(1, keepdim=True) * centred, matrix, centred, alpha=-1).mul_(2)


class _GaussianSum(torch.autograd.Function):
    """d (P,) -> sum_u beta_u exp(-d / (2^u gamma)) (P,), with its derivative in d kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, d: Tensor, gamma: Tensor, beta: Tensor, exponents: tuple[float, ...]) -> Tensor:
        family = _family(exponents, d.device, d.dtype)
        rates = (gamma * family.minus).reciprocal_()
        kernels = d.new_empty(len(exponents), d.numel())
        below, *above = torch.split_with_sizes(kernels, family.levels)
        torch.mul((rates[: len(below)] * LOG2E).unsqueeze(1), d, out=below).exp2_()
        for squares in above:
            # exp(-d / (2^u gamma))^2 = exp(-d / (2^(u - 1) gamma))
            first = below if len(below) == len(squares) else below[: len(squares)]
            below = torch.mul(first, first, out=squares)
        weights = beta.to(d.dtype).index_select(0, family.order)
        value, derivative = (torch.stack((weights, weights * rates)) @ kernels).unbind()
        ctx.save_for_backward(derivative)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (derivative,) = ctx.saved_tensors
        return grad * derivative, None, None, None


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Context without automatic mixed precision: distances are small differences of large numbers."""
    mixed = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if mixed else contextlib.nullcontext()


def widened(x: Tensor) -> Tensor:
    """x in float32 if it has half the precision, else x itself."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def pair_distances(x: Tensor) -> Tensor:
    """Squared Euclidean distances of all distinct pairs.

    Args:
        x: samples of both domains, source first, float, (N, features).

    Returns:
        (P,), not negative.
    """
    distances: Tensor = _PairDistances.apply(x)
    return distances


def among_first(distances: Tensor, n: int, m: int) -> Tensor:
    """Of the distances of all pairs of n + m samples, (P,), those among the first n: (n (n - 1) / 2,)."""
    return distances.index_select(0, _among_first(n, m, distances.device))


def median(distances: Tensor) -> Tensor:
    """Bandwidth gamma: the median of the distances, a scalar without gradient.

    The mean of the two middle values if their number is even, as in numpy.  Collapsed features give 1.
    """
    d = distances.detach()
    if d.device.type == "cpu":
        # numpy finds the middle up to ten times faster than torch; the lower of two middle values ends its half.
        values = d.numpy()
        half = values.size // 2
        parted = np.partition(values, half)
        lower = parted[half] if values.size % 2 else parted[:half].max()
        middle = (lower + parted[half]) / 2
        return d.new_full((), float(middle) if middle > COLLAPSED else 1.0)
    # torch.median returns the lower of two middle values; on the negated distances that is the upper one.
    return _not_collapsed((d.median() - (-d).median()) / 2)


def mean(distances: Tensor) -> Tensor:
    """Bandwidth gamma: the mean of the distances, a scalar without gradient.  Collapsed features give 1."""
    return _not_collapsed(distances.detach().mean())


def _not_collapsed(gamma: Tensor) -> Tensor:
    return torch.where(gamma > COLLAPSED, gamma, torch.ones_like(gamma))


def gaussian_sum(distances: Tensor, gamma: Tensor, beta: Tensor, exponents: tuple[float, ...]) -> Tensor:
    """Values of the kernel sum_u beta_u exp(-d / (2^u gamma)).

    Args:
        distances: squared distances, (P,); the only argument with a gradient.
        gamma: bandwidth, scalar, positive.
        beta: weight of each kernel, (kernels,).
        exponents: u of each kernel, distinct.

    Returns:
        (P,), in 0 .. sum(beta) for non-negative beta.
    """
    value: Tensor = _GaussianSum.apply(distances, gamma, beta, exponents)
    return value


def gaussians(distances: Tensor, gamma: Tensor, exponents: tuple[float, ...]) -> Tensor:
    """Value of each kernel exp(-d / (2^u gamma)), in 0 .. 1, (..., kernels) for distances (...)."""
    rates = -LOG2E / (gamma * _divisors(exponents, distances.device, distances.dtype))
    return torch.exp2(distances.unsqueeze(-1) * rates)


def mmd_unbiased(kernel: Tensor, n: int, m: int) -> Tensor:
    """Unbiased quadratic-time estimate of MMD^2, which may be negative.

    Args:
        kernel: kernel values of all pairs of n source samples followed by m target samples, (P,).
        n: number of source samples, at least 2.
        m: number of target samples, at least 2.

    Returns:
        Scalar.
    """
    if min(n, m) < 2:
        raise ValueError(f"the unbiased estimator needs two samples of each domain; there are {n} and {m}.")
    return torch.dot(kernel, _mmd_weights(n, m, False, kernel.device, kernel.dtype))


def mmd_biased(kernel: Tensor, n: int, m: int, diagonal: Tensor | float = 1.0) -> Tensor:
    """Biased quadratic-time estimate of MMD^2, non-negative up to rounding; arguments as ``mmd_unbiased``.

    Args:
        kernel: kernel values of all pairs, (P,).
        n: number of source samples.
        m: number of target samples.
        diagonal: k(x, x); for a weighted sum of Gaussian kernels the sum of the weights.
    """
    return torch.dot(kernel, _mmd_weights(n, m, True, kernel.device, kernel.dtype)) + diagonal * (1 / n + 1 / m)


def joint_mmd(source: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Unbiased squared MMD of the joint distributions of several activations; may be negative.

    The kernel is the product over the activations of Gaussians with the median squared distance as bandwidth, as in JAN
    (Long et al., ICML 2017), whatever the network was trained with.

    Args:
        source: each (n, its width), the same n samples in the same order, n at least 2.
        target: likewise, each (m, its width).

    Returns:
        Scalar.
    """
    factors = []
    for s, t in zip(source, target, strict=True):
        distances = pair_distances(torch.cat([s, t]))
        one = distances.new_ones(1)
        factors.append(gaussian_sum(distances, median(distances), one, (0.0,)))
    product = reduce(torch.mul, factors)
    return mmd_unbiased(product, len(source[0]), len(target[0]))


def mmd_of_means(source: Tensor, target: Tensor) -> Tensor:
    """Biased estimate of MMD^2 under the linear kernel k(x, y) = x'y: |mean(s_i) - mean(t_j)|^2.

    Args:
        source: (n, features).
        target: (m, features).

    Returns:
        Scalar, not negative.
    """
    return (source.mean(0) - target.mean(0)).square().sum()


def mmd_of_means_unbiased(source: Tensor, target: Tensor) -> Tensor:
    """Unbiased estimate of MMD^2 under the linear kernel: pairs of a sample with itself are left out.

    It subtracts what the variances of n and m samples add to ``mmd_of_means``: their sums over the features, divided by
    n and by m.

    Args:
        source: (n, features), n at least 2.
        target: (m, features), m at least 2.

    Returns:
        Scalar, which may be negative.
    """
    noise = source.var(0).sum() / len(source) + target.var(0).sum() / len(target)
    return mmd_of_means(source, target) - noise


def quad_tuple_distances(source: Tensor, target: Tensor, *, cyclic: bool = False) -> Tensor:
    """The four squared distances of each disjoint quad-tuple z_i = (s_{2i-1}, s_{2i}, t_{2i-1}, t_{2i}).

    Args:
        source: (n, features).
        target: (m, features).
        cyclic: use the overlapping quad-tuples (s_i, s_{i+1}, t_i, t_{i+1}) instead, the last of which wraps around to
            the first samples: twice as many, as in the released code of JAN.

    Returns:
        (4, q) with q = min(n, m) // 2, or min(n, m): distances of (s_{2i-1}, s_{2i}), (t_{2i-1}, t_{2i}),
        (s_{2i-1}, t_{2i}) and (s_{2i}, t_{2i-1}).  Samples beyond 2 q, or q, are not used.
    """
    least = min(len(source), len(target))
    if least < 2:
        n, m = len(source), len(target)
        raise ValueError(f"the linear-time estimator needs two samples of each domain; there are {n} and {m}.")
    if cyclic:
        s1, t1 = source[:least], target[:least]
        s2, t2 = s1.roll(-1, 0), t1.roll(-1, 0)
    else:
        used = least // 2 * 2
        s1, s2, t1, t2 = source[0:used:2], source[1:used:2], target[0:used:2], target[1:used:2]
    difference = torch.stack([s1 - s2, t1 - t2, s1 - t2, s2 - t1])
    return difference.square().sum(-1)


def quad_tuple_g(kernels: Tensor) -> Tensor:
    """g(z_i) = k(s_{2i-1}, s_{2i}) + k(t_{2i-1}, t_{2i}) - k(s_{2i-1}, t_{2i}) - k(s_{2i}, t_{2i-1}).

    Its mean over i is the linear-time unbiased estimate of MMD^2.

    Args:
        kernels: kernel values at ``quad_tuple_distances``, (4, q, ...).

    Returns:
        (q, ...), in -2 .. 2 for kernels in 0 .. 1.
    """
    same_source, same_target, across, across_too = kernels.unbind()
    return same_source + same_target - across - across_too


def kernel_weights(d: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """beta of MK-MMD: the minimum of beta' (Q + epsilon I) beta subject to d' beta = 1 and beta >= 0.

    Only the direction of beta matters, and it is that of a non-negative least squares problem: with the Cholesky factor
    L L' = Q + epsilon I, |L' x - L^-1 d|^2 = x' (Q + epsilon I) x - 2 d' x + constant, and over all multiples of x >= 0
    the minimum is -(d' x)^2 / x' (Q + epsilon I) x.

    Args:
        d: estimated MMD^2 of each kernel, finite, (kernels,).
        q: covariance of g over the quad-tuples, finite, (kernels, kernels).

    Returns:
        The minimum scaled to sum 1, (kernels,), or None if no d is positive beyond rounding, when nothing satisfies the
        constraints.
    """
    from scipy.optimize import lsq_linear  # slow to import, and most commands do not need it

    largest = d.max()
    if not largest > 0:
        return None
    size = len(d)
    lower = np.linalg.cholesky(q + EPSILON * np.eye(size))
    # Scaling d only scales x, which the normalisation undoes; it keeps the numbers near 1.  scipy 1.17's ``nnls`` is
    # not used because it gives a kernel whose d is almost zero up to half of all weight.
    found = lsq_linear(
        lower.T, np.linalg.solve(lower, d / largest), (0, np.inf), method="bvls", tol=PRECISION, max_iter=10 * size
    )
    beta: NDArray[np.float64] = np.maximum(found.x, 0.0)  # rounding can give -1e-18 for 0
    total = beta.sum()
    return beta / total if total > 0 else None


def powers(low: float, high: float, step: float) -> tuple[float, ...]:
    """Exponents low, low + step, ..., high."""
    count = round((high - low) / step) + 1
    return tuple(low + i * step for i in range(count))


def effective_number(beta: Sequence[float]) -> float:
    """1 / sum beta^2 for weights of sum 1: the number of equally weighted kernels with the same concentration."""
    return 1 / sum(b * b for b in beta)
