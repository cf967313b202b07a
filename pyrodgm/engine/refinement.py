"""Variational parameters of single data: independent latents, moved along gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import BernoulliVector, NormalVector, OneHotVector
from pyrodgm.engine.draws import draw, score
from pyrodgm.errors import CompatibilityError

Discrete = BernoulliVector | OneHotVector
Independent = NormalVector | Discrete
Posterior = dict[str, Independent]


def factorised_posterior(guide: Callable[[Batch], Any], batch: Batch) -> Posterior:
    """The guide's distribution of every latent site, if all latents of a frame are independent.

    Args:
        guide: the guide q.
        batch: B sequences of T frames.

    Returns:
        Normal numbers, bits or classes, by site, of batch shape (B, T).

    Raises:
        CompatibilityError: the guide's latents are others, or depend on each other.
    """
    found: Posterior = {}
    for name, factor in draw(guide, batch, 2, pathwise=False).factors.items():
        shape = torch.Size([2, *batch.mask.shape])
        each = factor.distribution
        if not isinstance(each, Independent):
            _refuse(guide, f"draws '{name}' from {type(each).__name__}")
        numbers = _numbers(each.expand(shape))
        if not all(torch.equal(*both) for both in numbers):
            _refuse(guide, f"draws '{name}' given other latents")
        found[name] = _like(each, *(both[0] for both in numbers))
    return found


def _numbers(each: Independent) -> tuple[Tensor, ...]:
    """The parameters of a distribution."""
    return (each.loc, each.scale) if isinstance(each, NormalVector) else (each.logits,)


def _like(each: Independent, *numbers: Tensor) -> Independent:
    """A distribution of the same kind with other parameters."""
    if isinstance(each, OneHotVector):
        return OneHotVector(numbers[0], each.classes)
    return type(each)(*numbers)


def _refuse(guide: object, why: str) -> None:
    raise CompatibilityError(
        f"{type(guide).__name__} {why}, and variational parameters of single data are those of "
        "independent normal numbers, bits or classes, as of the guides 'gaussian' and 'factorised' "
        "of rows"
    )


def no_moves(start: Posterior) -> dict[str, Tensor]:
    """Moves of zero, by site: (..., 2 J) for J normal numbers, else one for every logit."""
    return {name: torch.zeros_like(torch.cat(_numbers(each), -1)) for name, each in start.items()}


def moved(start: Posterior, moves: Mapping[str, Tensor]) -> Posterior:
    r"""Distributions whose parameters are moved, in units of their own scale.

    .. math:: \mu + \sigma u, \quad \sigma e^v \qquad \text{and} \qquad l + u

    for normal numbers with moves (u, v), and for the log-odds l of bits or logits l of classes. A
    step of one size is then right for all data, whatever the scale of their posterior.
    """
    found: Posterior = {}
    for name, each in start.items():
        if isinstance(each, NormalVector):
            u, v = moves[name].chunk(2, -1)
            found[name] = NormalVector(each.loc + each.scale * u, each.scale * v.exp())
        else:
            found[name] = _like(each, each.logits + moves[name])
    return found


def sampled_bounds(
    model: Callable[[Batch], Any], posterior: Posterior, batch: Batch, noise: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    r"""The evidence lower bound of every sequence, and a surrogate with its gradient.

    Normal numbers have the gradient through the draws alone, with log q held fixed; bits and
    classes have the score gradient with the mean of the other draws as baseline. Both are unbiased.

    Args:
        model: the model p.
        posterior: the distribution of every latent site.
        batch: B sequences of T frames.
        noise: that the latents are made from, (K, B, T, J), by site; see `noise_of`.

    Returns:
        Both (K, B), in nats.
    """
    values = {name: posterior[name].from_noise(each.clone()) for name, each in noise.items()}
    values = {name: value.to(batch.x.dtype) for name, value in values.items()}
    log_p = torch.stack([*score(model, batch, values).values()]).sum((0, -1))
    total, scores = log_p, torch.zeros_like(log_p)
    for name, each in posterior.items():
        held = _like(each, *(part.detach() for part in _numbers(each)))
        total = total - _summed(held, values[name], batch)
        if isinstance(each, Discrete):
            scores = scores + _summed(each, values[name], batch)
    bound = total.detach()
    centred = bound - bound.mean(0)
    return bound, total + centred * scores * len(bound) / max(len(bound) - 1, 1)


def _summed(each: Independent, value: Tensor, batch: Batch) -> Tensor:
    """Log-probabilities of values summed over the frames that are data, (K, B)."""
    return each.log_prob(value).masked_fill(~batch.mask, 0.0).sum(-1)


def noise_of(posterior: Posterior, draws: int) -> dict[str, Tensor]:
    """Noise of K draws of every site, (K, B, T, J); see `noise` of the distributions."""
    return {
        name: each.noise(torch.Size([draws]) + each.batch_shape + each.event_shape)
        for name, each in posterior.items()
    }
