"""Bits and classes relaxed to numbers between zero and one, as functions of noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.distributions.bernoulli import BernoulliVector
from pyrodgm.distributions.one_hot import OneHotVector
from pyrodgm.distributions.surrogates import logits_given, logits_of, one_hots_of


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


class ConcreteOneHots(OneHotVector):
    r"""J relaxed one-hot codings: Gumbel noise is followed by a softmax and not by a maximum.

    .. math:: z_j = \mathrm{softmax}\big((l_j + g_j) / \tau\big) \to
        \text{the coding of } \arg\max_c\, (l_{jc} + g_{jc}) \quad\text{as } \tau \to 0

    An instance is what a site is drawn from; see `surrogate` of `pyrodgm.engine.draws.draw`. Its
    log-probabilities are those of the classes; the density of relaxed codings is in
    `log_gumbel_softmax`.

    Args:
        classes: the distribution of the one-hot codings.
        temperature: :math:`\tau`, positive, a number or a scalar tensor.

    Raises:
        CompatibilityError: it is not a `OneHotVector`.

    Reference: Maddison, Mnih and Teh, The concrete distribution, 2017; Jang, Gu and Poole,
    Categorical reparameterization with Gumbel-softmax, 2017.

    >>> three = OneHotVector(torch.zeros(3), 3)
    >>> ConcreteOneHots(three, 0.5).from_noise(torch.tensor([0.0, 0.0, 99.0])).tolist()
    [0.0, 0.0, 1.0]
    """

    def __init__(self, classes: TorchDistribution, temperature: float | Tensor) -> None:
        of = one_hots_of(classes)
        super().__init__(of.logits, of.classes)
        self.temperature = temperature

    def from_noise(self, noise: Tensor) -> Tensor:
        """The relaxed codings (..., J C) at this noise, with their gradient."""
        return self.rows((self.logits + noise) / self.temperature).softmax(-1).flatten(-2)


class HardConcreteOneHots(ConcreteOneHots):
    """One-hot codings that pass on the gradient of relaxed ones."""

    def from_noise(self, noise: Tensor) -> Tensor:
        """The coding of the largest logit plus noise, with the relaxed gradient."""
        relaxed = super().from_noise(noise)
        return self.hardest(self.logits.detach() + noise) + (relaxed - relaxed.detach())


def concrete(
    of: TorchDistribution, *, temperature: float | Tensor, hard: bool = False
) -> ConcreteBits | ConcreteOneHots:
    """What bits or classes are drawn from to be relaxed, or to pass on a relaxed gradient.

    Args:
        of: their distribution.
        temperature: positive, a number or a scalar tensor.
        hard: whether the values are bits and codings.

    Raises:
        CompatibilityError: it is neither a `BernoulliVector` nor a `OneHotVector`.
    """
    if isinstance(of, OneHotVector):
        return (HardConcreteOneHots if hard else ConcreteOneHots)(of, temperature)
    return (HardConcreteBits if hard else ConcreteBits)(of, temperature)


def relaxed_log_probs(
    p: TorchDistribution, q: TorchDistribution, noise: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-densities of relaxed values under p and under q, of which they are draws, in nats.

    Both are without the same term, which depends on the values and on the temperature alone.

    Args:
        p: another distribution of the same bits or classes.
        q: the distribution that was relaxed.
        noise: that the values were made from, (..., D).
        value: the relaxed values, (..., D), from which log-odds under p are computed that depend
            on the bits before.
    """
    if isinstance(q, OneHotVector):
        l_p, l_q = one_hots_of(p).logits, q.logits
        of_model, of_guide = (
            log_gumbel_softmax(q.rows(numbers)).sum(-1) for numbers in (l_p - l_q - noise, -noise)
        )
        return of_model, of_guide
    l_p, l_q = logits_given(p, value), logits_of(q)
    return log_logistic(l_p - l_q + noise), log_logistic(noise)


def log_logistic(noise: Tensor) -> Tensor:
    r"""Log-density of D standard logistic variables (..., D), in nats.

    .. math:: \log f(\varepsilon) = \sum_d \log\sigma(\varepsilon_d) + \log\sigma(-\varepsilon_d)

    In terms of :math:`y = \operatorname{logit} z`, relaxed bits have the log-density
    :math:`\log f(l - \tau y) + D \log \tau`.

    >>> round(float(log_logistic(torch.zeros(1)).exp()), 4)
    0.25
    """
    return (F.logsigmoid(noise) + F.logsigmoid(-noise)).sum(-1)


def log_gumbel_softmax(a: Tensor) -> Tensor:
    r"""Log-density of a relaxed coding of C classes in terms of its logarithms, (..., C) to (...).

    .. math:: \log f(a) = \log (C-1)! + \sum_c a_c - C \log \sum_c e^{a_c}

    With :math:`y = \log z`, a relaxed coding has the log-density
    :math:`\log f(l - \tau y) + (C - 1) \log \tau`; f does not change when a number is added to all
    of a. For two classes it is the logistic density of their difference.

    >>> round(float(log_gumbel_softmax(torch.tensor([7.0, 7.0])).exp()), 4)
    0.25
    """
    classes = a.shape[-1]
    return math.lgamma(classes) + a.sum(-1) - classes * a.logsumexp(-1)
