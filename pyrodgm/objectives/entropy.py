"""Entropies of distributions that are known by their draws or by their network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pyrodgm.networks.mlp import FrameNorm

SMALLEST = 1e-12  # squared distance of draws that are equal, relative to their variance


def nearest_neighbour_entropy(x: Tensor) -> Tensor:
    r"""The differential entropy of a distribution from independent draws, in nats, a scalar.

    .. math:: \hat H = \psi(N) - \psi(1) + \log \frac{\pi^{D/2}}{\Gamma(D/2 + 1)}
        + \frac DN \sum_i \log \rho_i

    with the distance :math:`\rho_i` of draw i to its nearest other draw, and the digamma function
    :math:`\psi`. It carries gradients to the draws. It is consistent; for few draws in many
    dimensions its bias is large, and mostly a constant where the distribution only changes scale.

    Args:
        x: N draws, (N, D), without gradients or with them; N is at least two.

    Reference: Kozachenko and Leonenko, Sample estimate of the entropy of a random vector, 1987.

    >>> x = torch.linspace(0, 1, 5)[:, None]
    >>> nearest_neighbour_entropy(2 * x) - nearest_neighbour_entropy(x)
    tensor(0.6931)
    """
    num, dim = x.shape
    with torch.no_grad():
        apart = torch.cdist(x, x).fill_diagonal_(math.inf)
        nearest = apart.argmin(1)
    squared = (x - x[nearest]).square().sum(1)
    log_ball = dim / 2 * math.log(math.pi) - math.lgamma(dim / 2 + 1)
    digamma = torch.digamma(torch.tensor([num, 1.0], dtype=x.dtype, device=x.device))
    equal = SMALLEST * x.detach().var(0, correction=0).sum() + torch.finfo(x.dtype).tiny
    log_distance = 0.5 * squared.clamp(min=equal).log().mean()
    return digamma[0] - digamma[1] + log_ball + dim * log_distance


def batch_norm_entropy(network: nn.Module) -> Tensor:
    r"""The entropy of all normalised activations of a network as if these were normal, in nats.

    .. math:: \sum_a \tfrac12 \log (2 e \pi \gamma_a^2)

    with the scale :math:`\gamma_a` of each. It is no estimate of the entropy of the output, which
    also depends on how the layers above mix and fold the activations.

    Args:
        network: with layers `FrameNorm`.

    Reference: Kim and Bengio, Deep directed generative models with energy-based probability
    estimation, 2016, equation 10.
    """
    scales: list[Tensor] = [
        each.weight for each in network.modules() if isinstance(each, FrameNorm)
    ]
    return 0.5 * (torch.cat(scales).square() * 2 * math.e * math.pi).log().sum()
