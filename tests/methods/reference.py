"""The papers' mathematics as slow loops over single samples, written from the formulas; float64, differentiable.

Nothing here shares code with ``methods``.
"""

from __future__ import annotations

from collections.abc import Sequence

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


ESTIMATORS = {"unbiased": mmd_unbiased, "biased": mmd_biased, "linear": mmd_linear}


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
