"""The critic term: a critic in the place of a log density ratio, and what q is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.draws import draw, score
from pyrodgm.guides import ImplicitGuide
from pyrodgm.objectives.divergences import DIVERGENCES, Divergence

Values = Mapping[str, Tensor]
LEAST_SCALE = 1e-3  # of q's standard deviations, below which draws count as equal


def logistic(of_q: Tensor, of_r: Tensor) -> Tensor:
    r"""The logistic loss of separating draws of q and of r.

    .. math:: \mathrm{softplus}(-T_q) + \mathrm{softplus}(T_r)

    Its mean is smallest where T is :math:`\log q - \log r`, and 2 log 2 for T = 0.

    Args:
        of_q: the critic T at draws of q.
        of_r: the critic at as many draws of r.
    """
    return F.softplus(-of_q) + F.softplus(of_r)


class CriticTerm(nn.Module):
    r"""A critic T(x, z) that estimates the logarithm of the ratio of two densities of z given x.

    .. math::
        \min_T \; E_q\, \mathrm{softplus}(-T(x, z)) + E_r\, \mathrm{softplus}(T(x, z)), \qquad
        T^*(x, z) = \log q(z \mid x) - \log r(z \mid x)

    or, with another f-divergence of q and r, :math:`\max_T E_q\, a(T) - E_r\, b(T)`, whose optimum
    is the same (`Divergence`; the line above is "gan"). Only draws of q are needed, and r is a
    distribution with a known density, such as the prior. :math:`\log r + T` then stands for
    :math:`\log q`: as a function of z, its gradient is that of log q where the critic is at its
    optimum. The optimum also depends on the parameters of q, and the expectation of that gradient
    is zero (proposition 2 of the reference).

    The critic is called with what model and guide are called with, and with latents by the names of
    their sites, and sees as much of both as it likes: of z alone, of pairs, of whole paths.

    Args:
        critic: a module, ``critic(*args, **latents)``; for models and guides of ours
            ``critic(batch, z=z)``, from (K, B, T, J) to (K, B, T).
        game: the f-divergence whose variational value the critic maximises.

    Reference: Mescheder, Nowozin and Geiger, Adversarial variational Bayes, 2017, equations 3.3,
    3.4 and 5.6 to 5.10.
    """

    def __init__(self, critic: nn.Module, game: Divergence = DIVERGENCES["gan"]) -> None:
        super().__init__()
        self.critic, self.game = critic, game

    def ratio(self, values: Values, *args: Any, **kwargs: Any) -> Tensor:
        """The estimate T of log q(z | x) - log r(z | x), in nats.

        Args:
            values: of every latent site, by name.
            *args: what model and guide are called with.
            **kwargs: the same, by keyword.
        """
        return self.critic(*args, **kwargs, **values)

    def loss(self, of_q: Values, of_r: Values, *args: Any, **kwargs: Any) -> Tensor:
        """Minus the value of the game for every pair of draws, by default the logistic loss.

        At the optimum, and where q equals r, the logistic loss is 2 log 2.

        Args:
            of_q: draws from q, by site, without gradients.
            of_r: as many from r.
            *args: what model and guide are called with.
            **kwargs: the same, by keyword.
        """
        q, r = (self.ratio(values, *args, **kwargs) for values in (of_q, of_r))
        return -self.game.value(q, r)

    def divergence(self, of_q: Values, of_r: Values, *args: Any, **kwargs: Any) -> Tensor:
        """The estimate of KL(q || r) by one draw of q, in nats.

        The arguments are those of `loss`; draws of r are not looked at.
        """
        del of_r
        return self.ratio(of_q, *args, **kwargs)

    def log_q(
        self, batch: Batch, contrast: Contrast, values: Values, of_model: Values
    ) -> dict[str, Tensor]:
        """The estimate of log q(z | x) by site, (K, B, T), zero where a frame is padding.

        The critic looks at all sites together, and its estimate is counted with the first.

        Args:
            batch: B sequences of T frames.
            contrast: the distribution r that the critic compares q with.
            values: of every latent site, (K, B, T, J).
            of_model: the model's log-probabilities of them, by site.
        """
        log_q = contrast.log_prob(values, of_model)
        first = next(iter(values))
        log_q[first] = log_q[first] + self.ratio(contrast.seen(values), batch)
        return {name: nats.masked_fill(~batch.mask, 0.0) for name, nats in log_q.items()}


class DistanceTerm(nn.Module):
    r"""A critic D(x, z) whose mean differs between two distributions as far as its slope allows.

    .. math:: \max_D \; E_q D(x, z) - E_r D(x, z)

    Over all D of slope at most one it is the Wasserstein distance of q and r. Unlike `CriticTerm`
    it needs no density of r, whose draws carry gradients. Bound the slope after every step of the
    critic, by `pyrodgm.networks.critics.clip_weights` or `bound_spectrum`. D is not in nats.

    Args:
        critic: as of `CriticTerm`.

    Reference: Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017, equations 2 and 3; on paths of
    latents: Huang and Xiao, Regularized sequential latent variable models with adversarial neural
    networks, 2021, equation 16.
    """

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def loss(self, of_q: Values, of_r: Values, *args: Any, **kwargs: Any) -> Tensor:
        """What the critic minimises: D at draws of r less D at draws of q."""
        return -self.divergence(of_q, of_r, *args, **kwargs)

    def divergence(self, of_q: Values, of_r: Values, *args: Any, **kwargs: Any) -> Tensor:
        """D at draws of q less D at draws of r, for every pair of draws.

        Args:
            of_q: draws from q, by site.
            of_r: as many from r.
            *args: what model and guide are called with.
            **kwargs: the same, by keyword.
        """
        q, r = (self.critic(*args, **kwargs, **values) for values in (of_q, of_r))
        return q - r


class Contrast(Protocol):
    """The distribution r(z | x) that the critic of a batch compares q with."""

    def draws(self, particles: int) -> Values:
        """Draws of r as the critic sees them, (K, B, T, J) by site."""
        ...

    def seen(self, values: Values) -> Values:
        """Latents as the critic sees them."""
        ...

    def log_prob(self, values: Values, of_model: Values) -> dict[str, Tensor]:
        """Log-probabilities under r by site, (K, B, T).

        Args:
            values: of every latent site.
            of_model: the model's log-probabilities of them.
        """
        ...


class PriorContrast:
    """The prior of the model: r(z | x) = p(z).

    Args:
        model: the model p.
        batch: B sequences of T frames.
    """

    def __init__(self, model: Callable[[Batch], Any], batch: Batch) -> None:
        self.model, self.batch = model, batch

    def draws(self, particles: int) -> Values:
        """Draws from the prior."""
        return draw(self.model, self.batch, particles, pathwise=False).values

    def seen(self, values: Values) -> Values:
        """Latents as they are."""
        return values

    def log_prob(self, values: Values, of_model: Values) -> dict[str, Tensor]:
        """The model's own, as functions of the latents alone.

        The density of q does not depend on the parameters of the prior, and neither does what
        stands for it: their gradient is taken out, so that the prior learns by log p.
        """
        fixed = {name: value.detach() for name, value in values.items()}
        learnt = score(self.model, self.batch, fixed)
        return {name: of_model[name] - (learnt[name] - learnt[name].detach()) for name in values}


class AdaptiveContrast:
    r"""Independent normal latents with q's moments at x: r(z | x) = N(m(x), diag s(x)^2).

    The critic sees :math:`(z - m) / s`, so that what it has to find is only how far q is from
    normal. The moments are those of M draws for each row, or those that an implicit guide gives,
    and carry no gradient.

    Args:
        guide: the guide q.
        batch: B sequences of T frames.
        particles: number of draws M, at least 2.

    Reference: Mescheder, Nowozin and Geiger, Adversarial variational Bayes, 2017, adaptive contrast
    of the later version.
    """

    def __init__(self, guide: Callable[[Batch], Any], batch: Batch, particles: int) -> None:
        with torch.no_grad():
            known = guide.moments(batch, particles) if isinstance(guide, ImplicitGuide) else None
        mean, scale = known or _moments_of_draws(guide, batch, particles)
        self.mean = dict(mean)
        self.scale = {name: value + LEAST_SCALE for name, value in scale.items()}

    def draws(self, particles: int) -> Values:
        """Standard normal numbers, which is what draws of r are to the critic."""
        return {
            name: torch.randn(particles, *mean.shape, dtype=mean.dtype, device=mean.device)
            for name, mean in self.mean.items()
        }

    def seen(self, values: Values) -> Values:
        """Latents less q's mean, in units of q's standard deviation."""
        return {n: (value - self.mean[n]) / self.scale[n] for n, value in values.items()}

    def log_prob(self, values: Values, of_model: Values) -> dict[str, Tensor]:
        """Of the normal distribution."""
        del of_model
        return {
            name: NormalVector(self.mean[name], self.scale[name]).log_prob(value)
            for name, value in values.items()
        }


def _moments_of_draws(
    guide: Callable[[Batch], Any], batch: Batch, particles: int
) -> tuple[Values, Values]:
    """Mean and standard deviation of draws for every row, (B, T, J) by site."""
    values = draw(guide, batch, particles, pathwise=False).values
    mean = {name: value.mean(0) for name, value in values.items()}
    return mean, {name: value.std(0) for name, value in values.items()}
