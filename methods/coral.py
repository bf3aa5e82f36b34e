"""Correlation alignment: source features whitened and coloured like the target's (CORAL; Sun, Feng, Saenko; AAAI 2016).

With C_S and C_T the covariances of source and target features, as estimated by the caller,

    f_S  <-  f_S C_S^(-1/2) C_T^(1/2)

after which the source has the target's covariance.  The paper's Algorithm 1 uses C + I instead of C.
"""

from __future__ import annotations

from torch import Tensor, linalg


def recoloured(source: Tensor, source_covariance: Tensor, target_covariance: Tensor) -> Tensor:
    """Source features with the target's covariance.

    Args:
        source: centred, float64, (n, width).
        source_covariance: positive definite, (width, width).
        target_covariance: positive definite, (width, width).

    Returns:
        (n, width).
    """
    return source @ _power(source_covariance, -0.5) @ _power(target_covariance, 0.5)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Power of a symmetric positive definite matrix."""
    values, vectors = linalg.eigh(matrix)
    result: Tensor = (vectors * values**exponent) @ vectors.T
    return result
