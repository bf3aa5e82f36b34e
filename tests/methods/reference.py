"""The papers' mathematics as slow loops over single samples, written from the formulas; float64, differentiable.

Nothing here shares code with ``methods``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor


def distance(x: Tensor, y: Tensor) -> Tensor:
    """|x - y|^2 of two vectors."""
    return sum((a - b) ** 2 for a, b in zip(x.unbind(), y.unbind(), strict=True))


def all_distances(samples: Sequence[Tensor]) -> list[float]:
    """Squared distances of all pairs i < j."""
    n = len(samples)
    return [distance(samples[i].detach(), samples[j].detach()).item() for i in range(n) for j in range(i + 1, n)]


def bandwidth(source: Tensor, target: Tensor, rule: str) -> float:
    """Median or mean of the squared distances over both domains."""
    distances = all_distances([*source, *target])
    return float(np.median(distances) if rule == "median" else np.mean(distances))


def kernel(x: Tensor, y: Tensor, gamma: float, beta: Sequence[float], exponents: Sequence[float]) -> Tensor:
    """sum_u beta_u exp(-|x - y|^2 / (2^u gamma))."""
    d = distance(x, y)
    return sum(b * torch.exp(-d / (2.0**u * gamma)) for b, u in zip(beta, exponents, strict=True))


def mmd_unbiased(source: Tensor, target: Tensor, gamma: float, beta: Sequence[float], us: Sequence[float]) -> Tensor:
    n, m = len(source), len(target)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            if i != j:
                total = total + kernel(source[i], source[j], gamma, beta, us) / (n * (n - 1))
    for i in range(m):
        for j in range(m):
            if i != j:
                total = total + kernel(target[i], target[j], gamma, beta, us) / (m * (m - 1))
    for i in range(n):
        for j in range(m):
            total = total - 2 * kernel(source[i], target[j], gamma, beta, us) / (n * m)
    return total


def mmd_biased(source: Tensor, target: Tensor, gamma: float, beta: Sequence[float], us: Sequence[float]) -> Tensor:
    n, m = len(source), len(target)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            total = total + kernel(source[i], source[j], gamma, beta, us) / n**2
    for i in range(m):
        for j in range(m):
            total = total + kernel(target[i], target[j], gamma, beta, us) / m**2
    for i in range(n):
        for j in range(m):
            total = total - 2 * kernel(source[i], target[j], gamma, beta, us) / (n * m)
    return total


def mmd_linear(source: Tensor, target: Tensor, gamma: float, beta: Sequence[float], us: Sequence[float]) -> Tensor:
    """Mean of g over z_i = (s_{2i-1}, s_{2i}, t_{2i-1}, t_{2i}), i = 1 .. min(n, m) // 2."""
    tuples = min(len(source), len(target)) // 2
    total = torch.zeros((), dtype=torch.float64)
    for i in range(1, tuples + 1):
        s1, s2 = source[2 * i - 1 - 1], source[2 * i - 1]  # the formula counts from 1
        t1, t2 = target[2 * i - 1 - 1], target[2 * i - 1]
        g = kernel(s1, s2, gamma, beta, us) + kernel(t1, t2, gamma, beta, us)
        g = g - kernel(s1, t2, gamma, beta, us) - kernel(s2, t1, gamma, beta, us)
        total = total + g / tuples
    return total


def mmd_cyclic(source: Tensor, target: Tensor, gamma: float, beta: Sequence[float], us: Sequence[float]) -> Tensor:
    """Mean of g over (s_i, s_{i+1}, t_i, t_{i+1}), i = 1 .. min(n, m), the index going round."""
    tuples = min(len(source), len(target))
    total = torch.zeros((), dtype=torch.float64)
    for i in range(tuples):
        s1, s2, t1, t2 = source[i], source[(i + 1) % tuples], target[i], target[(i + 1) % tuples]
        g = kernel(s1, s2, gamma, beta, us) + kernel(t1, t2, gamma, beta, us)
        g = g - kernel(s1, t2, gamma, beta, us) - kernel(s2, t1, gamma, beta, us)
        total = total + g / tuples
    return total


ESTIMATORS = {"unbiased": mmd_unbiased, "biased": mmd_biased, "linear": mmd_linear, "cyclic": mmd_cyclic}


def aligned(source: Tensor, target: Tensor, alpha: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """AutoDIAL's DA(x_s) and DA(x_t): (n, features) and (m, features), or with height and width behind."""

    def one(own: Tensor, other: Tensor) -> Tensor:
        columns = []
        for feature in range(own.shape[1]):
            x, y = own[:, feature], other[:, feature]
            mu = alpha * (sum(x.flatten()) / x.numel()) + (1 - alpha) * (sum(y.flatten()) / y.numel())
            squares = [sum((z.flatten() - mu) ** 2) / z.numel() for z in (x, y)]
            columns.append((x - mu) / torch.sqrt(eps + alpha * squares[0] + (1 - alpha) * squares[1]))
        return torch.stack(columns, 1)

    return one(source, target), one(target, source)


def entropy(logits: Tensor) -> Tensor:
    """Mean over the samples of -sum_y p log p, p the softmax of (N, classes) logits."""
    total = torch.zeros((), dtype=torch.float64)
    for sample in logits:
        weights = [torch.exp(value) for value in sample]
        for weight in weights:
            p = weight / sum(weights)
            total = total - p * torch.log(p) / len(logits)
    return total


def kernel_weights(d: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The minimum of beta' (Q + I / 1000) beta, d' beta = 1, beta >= 0, scaled to sum 1: of all sets of kernels, that
    whose minimum is positive and which no other kernel would improve."""
    matrix = q + np.eye(len(d)) / 1000
    for count in range(1, len(d) + 1):
        for chosen in map(list, combinations(range(len(d)), count)):
            beta = np.zeros(len(d))
            beta[chosen] = np.linalg.solve(matrix[np.ix_(chosen, chosen)], d[chosen])
            if (beta[chosen] > 0).all() and (matrix @ beta - d >= -1e-12 * np.abs(d).max()).all():
                return beta / beta.sum()
    raise ValueError("no d is positive")


# Classical alignments: source (n, features) and target (m, features) -> both, aligned.  Components have either sign.


def transfer_components(source: np.ndarray, target: np.ndarray, mu: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """TCA with the Gaussian kernel of width sqrt(features / 2), each component of variance 1 over all samples."""
    x, n, m = [*source, *target], len(source), len(target)
    gram = np.array([[np.exp(-((a - b) ** 2).sum() / len(a)) for b in x] for a in x])
    share = [1 / n] * n + [-1 / m] * m
    discrepancy = np.array([[a * b for b in share] for a in share])
    centring = np.eye(n + m) - 1 / (n + m)
    cost, variance = gram @ discrepancy @ gram + mu * np.eye(n + m), gram @ centring @ gram
    values, vectors = np.linalg.eig(np.linalg.inv(cost) @ variance)
    leading = vectors[:, np.argsort(-values.real)[:count]].real
    embedded = gram @ leading
    embedded = embedded / embedded.std(0)
    return embedded[:n], embedded[n:]


def subspace_alignment(source: np.ndarray, target: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """SA with ``count`` directions."""
    bases = [np.linalg.eigh(np.cov(x.T))[1][:, ::-1][:, :count] for x in (source, target)]
    turn = np.linalg.lstsq(bases[0], bases[1])[0]
    return (source - source.mean(0)) @ bases[0] @ turn, (target - target.mean(0)) @ bases[1]


def correlation_alignment(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CORAL of centred domains whose covariances are shrunk, after standardisation, as Ledoit and Wolf (2004) do it."""

    def shrunk(x: np.ndarray) -> np.ndarray:
        deviation = x.std(0)
        x = (x - x.mean(0)) / deviation
        n, p = x.shape
        sample = x.T @ x / n
        mean = np.trace(sample) / p
        spread = ((sample - mean * np.eye(p)) ** 2).sum() / p
        noise = sum(((np.outer(one, one) - sample) ** 2).sum() for one in x) / p / n**2
        weight = min(noise / spread, 1)
        return np.diag(deviation) @ (weight * mean * np.eye(p) + (1 - weight) * sample) @ np.diag(deviation)

    def root(matrix: np.ndarray, sign: int) -> np.ndarray:
        u, s, v = np.linalg.svd(matrix)
        return np.asarray((u * s ** (sign / 2)) @ v)

    aligned = (source - source.mean(0)) @ root(shrunk(source), -1) @ root(shrunk(target), 1)
    return aligned, target - target.mean(0)
