"""Bits and classes whose draws carry a gradient with respect to their logits."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.distributions.autoregressive import AutoregressiveVector
from pyrodgm.distributions.bernoulli import BernoulliVector
from pyrodgm.distributions.one_hot import OneHotVector
from pyrodgm.errors import CompatibilityError


class SurrogateBernoulli(BernoulliVector):
    r"""D bits with a surrogate gradient: their values and probabilities are those of the bits.

    .. math:: z = [\varepsilon < l], \qquad \frac{\partial z}{\partial l} := s(z, l)

    A subclass defines the slope s. An instance is made of the distribution that it stands for; the
    classes themselves are therefore surrogates in the sense of `pyrodgm.engine.draws.draw`.

    Args:
        bits: the distribution of the bits.

    Raises:
        CompatibilityError: it is not a `BernoulliVector`.
    """

    def __init__(self, bits: TorchDistribution) -> None:
        super().__init__(logits_of(bits))

    @abstractmethod
    def slope(self, value: Tensor) -> Tensor:
        """The derivative s of bits (..., D) with respect to their log-odds, without a gradient."""

    def from_noise(self, noise: Tensor) -> Tensor:
        """One where the log-odds exceed this noise, else zero, with the gradient of the slope."""
        value = super().from_noise(noise)
        logits = self.logits
        with torch.no_grad():
            slope = self.slope(value)
        return value + slope * (logits - logits.detach())


class StraightThroughBits(SurrogateBernoulli):
    r"""The slope of the mean, :math:`s = \sigma(l) \sigma(-l)`: unbiased for linear functions.

    >>> logits = torch.zeros(1, requires_grad=True)
    >>> value = StraightThroughBits(BernoulliVector(logits)).from_noise(torch.tensor([-1.0]))
    >>> value.item(), torch.autograd.grad(value, logits)[0].item()
    (1.0, 0.25)
    """

    def slope(self, value: Tensor) -> Tensor:
        """The same for both values."""
        del value
        return self.variance


class ReinMaxBits(SurrogateBernoulli):
    r"""The slope :math:`s = |z - \sigma(l)| / 2`: unbiased for quadratic functions.

    Its mean with a function's derivative is the trapezoidal rule,

    .. math:: E[f'(z)\, s] = p (1 - p)\, \tfrac12 [f'(0) + f'(1)] \approx p (1 - p) [f(1) - f(0)]

    >>> logits = torch.zeros(1, requires_grad=True)
    >>> value = ReinMaxBits(BernoulliVector(logits)).from_noise(torch.tensor([1.0]))
    >>> value.item(), torch.autograd.grad(value, logits)[0].item()
    (0.0, 0.25)
    """

    def slope(self, value: Tensor) -> Tensor:
        """Half of the distance to the mean."""
        return (value - self.mean).abs() / 2


class SurrogateOneHots(OneHotVector):
    r"""J one-hot codings with a surrogate gradient, that of a function of their logits.

    .. math:: z = \text{the coding drawn}, \qquad
        \frac{\partial z}{\partial l} := \frac{\partial s(z, l)}{\partial l}

    A subclass defines s. Values and probabilities are those of the classes.

    Args:
        classes: the distribution of the codings.

    Raises:
        CompatibilityError: it is not a `OneHotVector`.
    """

    def __init__(self, classes: TorchDistribution) -> None:
        of = one_hots_of(classes)
        super().__init__(of.logits, of.classes)

    @abstractmethod
    def carrier(self, value: Tensor) -> Tensor:
        """The function s of codings (..., J, C), which carry no gradient, and of the logits."""

    def from_noise(self, noise: Tensor) -> Tensor:
        """The coding of the largest logit plus noise, with the gradient of s."""
        value = super().from_noise(noise)
        carrier = self.carrier(self.rows(value)).flatten(-2)
        return value + (carrier - carrier.detach())


class StraightThroughOneHots(SurrogateOneHots):
    r"""The gradient of the mean, :math:`s = \mathrm{softmax}(l)`: unbiased for linear functions."""

    def carrier(self, value: Tensor) -> Tensor:
        """The probabilities, the same for all values."""
        del value
        return self.rows(self.logits).softmax(-1)


class ReinMaxOneHots(SurrogateOneHots):
    r"""A gradient that is unbiased for quadratic functions, by the trapezoidal rule.

    With the probabilities :math:`\pi_0 = \mathrm{softmax}(l)` and their mean with the draw,
    :math:`\pi_1 = (z + \pi_0) / 2`,

    .. math:: \frac{\partial z}{\partial l} := 2\, [\mathrm{diag}(\pi_1) - \pi_1 \pi_1^T]
        - \tfrac12\, [\mathrm{diag}(\pi_0) - \pi_0 \pi_0^T]

    Reference: Liu et al., Bridging discrete and backpropagation: straight-through and beyond, 2023,
    algorithm 2, at temperature one.
    """

    def carrier(self, value: Tensor) -> Tensor:
        """Twice a softmax that equals the mean of draw and probabilities, less half of these."""
        logits = self.rows(self.logits)
        probs = logits.softmax(-1)
        with torch.no_grad():
            shift = ((value + probs) / 2).log() - logits
        return 2 * (logits + shift).softmax(-1) - probs / 2


class MeanFieldBits(BernoulliVector):
    r"""Bits that are replaced by their mean, plus a displacement: :math:`z = \sigma(l) + \delta`.

    The displacement takes the place of the noise, and is zero unless it is given. The derivative of
    a function of it is the function's total derivative along the means.

    Args:
        bits: the distribution of the bits.

    Raises:
        CompatibilityError: it is not a `BernoulliVector`.
    """

    def __init__(self, bits: TorchDistribution) -> None:
        super().__init__(logits_of(bits))

    def noise(self, shape: torch.Size) -> Tensor:
        """No displacement."""
        return self.logits.new_zeros(shape)

    def from_noise(self, noise: Tensor) -> Tensor:
        """The mean, displaced."""
        return self.mean + noise


def logits_of(bits: TorchDistribution) -> Tensor:
    """The log-odds of independent bits, (..., D), in single precision at least.

    Raises:
        CompatibilityError: the distribution is not a `BernoulliVector`.
    """
    if not isinstance(bits, BernoulliVector):
        raise CompatibilityError(
            f"draws from {type(bits).__name__} carry no gradients; those of bits from "
            "pyrodgm.distributions.BernoulliVector, of codings from OneHotVector and of "
            "distributions with rsample do. For observations choose another emission, or read the "
            "values as real (data.kind=real); for latents draw from one of these, or take a score "
            "gradient, such as rloo"
        )
    return bits.logits.to(torch.promote_types(bits.logits.dtype, torch.float32))


def logits_given(bits: TorchDistribution, value: Tensor) -> Tensor:
    """The log-odds of every bit given those before it, (..., D); see `logits_of`.

    Args:
        bits: independent bits, or bits that are drawn one after the other.
        value: of all bits, (..., D); independent ones do not depend on it.

    Raises:
        CompatibilityError: the distribution is of another kind.
    """
    if not isinstance(bits, AutoregressiveVector):
        return logits_of(bits)
    logits = bits.logits_given(value)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def one_hots_of(classes: TorchDistribution) -> OneHotVector:
    """The distribution itself, if it is of one-hot codings.

    Raises:
        CompatibilityError: it is not a `OneHotVector`.
    """
    if not isinstance(classes, OneHotVector):
        raise CompatibilityError(
            f"gradients with respect to logits are of bits or one-hot codings, and a site is drawn "
            f"from {type(classes).__name__}; draw it from pyrodgm.distributions.OneHotVector"
        )
    return classes


def straight_through(of: TorchDistribution) -> StraightThroughBits | StraightThroughOneHots:
    """What bits or classes are drawn from to pass on the gradient of their mean."""
    return (StraightThroughOneHots if isinstance(of, OneHotVector) else StraightThroughBits)(of)


def reinmax(of: TorchDistribution) -> ReinMaxBits | ReinMaxOneHots:
    """What bits or classes are drawn from to pass on a gradient by the trapezoidal rule."""
    return (ReinMaxOneHots if isinstance(of, OneHotVector) else ReinMaxBits)(of)
