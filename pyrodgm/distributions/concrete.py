"""Bits relaxed to numbers between zero and one, as differentiable functions of logistic noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.distributions.bernoulli import BernoulliVector
from pyrodgm.distributions.surrogates import logits_of


class ConcreteBits(BernoulliVector):
    r"""D relaxed bits: the noise is compared with the log-odds by a sigmoid and not by a step.

    .. math:: z = \sigma\big((l - \varepsilon) / \tau\big) \to [\varepsilon < l]
        \quad\text{as } \tau \to 0

    An instance is what a site is drawn from; see `surrogate` of `pyrodgm.engine.draws.draw`. Its
    log-probabilities are those of the bits; the density of relaxed bits is in `log_logistic`.

    Args:
        bits: the distribution of the bits.
        temperature: :math:`\tau`, positive, a number or a scalar tensor.

    Raises:
        CompatibilityError: it is not a `BernoulliVector`.

    Reference: Maddison, Mnih and Teh, The concrete distribution, 2017, appendix B.

    >>> bits = BernoulliVector(torch.tensor([0.0, 2.0]))
    >>> ConcreteBits(bits, 1.0).from_noise(torch.tensor([0.0, 2.0])).tolist()
    [0.5, 0.5]
    """

    def __init__(self, bits: TorchDistribution, temperature: float | Tensor) -> None:
        super().__init__(logits_of(bits))
        self.temperature = temperature

    def noise(self, shape: torch.Size) -> Tensor:
        """Standard logistic noise, finite: a uniform zero counts as half of the next number."""
        uniform = torch.finfo(self._noise_dtype).eps / 4
        return super().noise(shape).clamp_(min=math.log(uniform))

    def from_noise(self, noise: Tensor) -> Tensor:
        """The relaxed bits (..., D) at this noise, with their gradient."""
        return torch.sigmoid((self.logits - noise) / self.temperature)


class HardConcreteBits(ConcreteBits):
    r"""Bits :math:`z = [\varepsilon < l]` that pass on the gradient of relaxed bits.

    >>> logits = torch.zeros(1, requires_grad=True)
    >>> bits = HardConcreteBits(BernoulliVector(logits), 0.5)
    >>> value = bits.from_noise(torch.tensor([0.0]) - 1e-6)
    >>> value.item(), round(torch.autograd.grad(value, logits)[0].item(), 3)
    (1.0, 0.5)
    """

    def from_noise(self, noise: Tensor) -> Tensor:
        """One where the log-odds exceed this noise, else zero, with the relaxed gradient."""
        relaxed = super().from_noise(noise)
        return (noise < self.logits).to(relaxed.dtype) + (relaxed - relaxed.detach())


def log_logistic(noise: Tensor) -> Tensor:
    r"""Log-density of D standard logistic variables (..., D), in nats.

    .. math:: \log f(\varepsilon) = \sum_d \log\sigma(\varepsilon_d) + \log\sigma(-\varepsilon_d)

    In terms of :math:`y = \operatorname{logit} z`, relaxed bits have the log-density
    :math:`\log f(l - \tau y) + D \log \tau`.

    >>> round(float(log_logistic(torch.zeros(1)).exp()), 4)
    0.25
    """
    return (F.logsigmoid(noise) + F.logsigmoid(-noise)).sum(-1)
