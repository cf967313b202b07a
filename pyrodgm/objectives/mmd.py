"""The maximum mean discrepancy of two sets of draws, which carries gradients."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

KernelName = Literal["imq", "rbf"]


def kernel(name: KernelName, x: Tensor, y: Tensor, scale: float) -> Tensor:
    r"""A kernel at all pairs of points (N, J) and (M, J), (N, M).

    .. math:: \text{imq: } k(x, y) = \frac{C}{C + \lVert x - y \rVert^2}, \qquad
        \text{rbf: } k(x, y) = e^{-\lVert x - y \rVert^2 / C}

    Args:
        name: "imq", the inverse multiquadratic, or "rbf".
        x: points.
        y: others.
        scale: C, a squared distance.

    >>> kernel("imq", torch.zeros(1, 2), torch.tensor([[1.0, 1.0]]), 2.0)
    tensor([[0.5000]])
    """
    apart = (x[:, None] - y).square().sum(-1)
    return scale / (scale + apart) if name == "imq" else torch.exp(-apart / scale)


def squared_mmd(name: KernelName, x: Tensor, y: Tensor, scale: float) -> Tensor:
    r"""The unbiased estimate of the squared maximum mean discrepancy, a scalar.

    .. math:: \frac{1}{N (N - 1)} \sum_{i \ne j} k(x_i, x_j)
        + \frac{1}{M (M - 1)} \sum_{i \ne j} k(y_i, y_j) - \frac{2}{N M} \sum_{ij} k(x_i, y_j)

    It may be negative. Its mean is zero if, and only if, the distributions are the same.

    Args:
        name: of the kernel.
        x: independent draws of one distribution, (N, J), at least two.
        y: of the other, (M, J), at least two.
        scale: of the kernel, C.

    Reference: Gretton et al., A kernel two-sample test, 2012, lemma 6.
    """
    return (
        _within(kernel(name, x, x, scale))
        + _within(kernel(name, y, y, scale))
        - 2 * kernel(name, x, y, scale).mean()
    )


def _within(gram: Tensor) -> Tensor:
    """The mean of a Gram matrix without its diagonal."""
    number = len(gram)
    return (gram.sum() - gram.diagonal().sum()) / (number * (number - 1))
