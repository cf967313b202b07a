"""What objectives that are bounds of a particle filter share: the loss of a filter that has run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.data.base import Sequences
from pyrodgm.engine.filtered import Filtered
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.errors import CompatibilityError
from pyrodgm.evaluate.likelihood.validation import Validation, validate
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs, Objective
from pyrodgm.objectives.signal import Signal, discount_of, reward_to_go

Particles = Annotated[int, Field(ge=2)]
Threshold = Annotated[float, Field(ge=0)]


class FilterObjective(Objective):
    """An objective that runs a particle filter over every sequence.

    Args:
        model: the sequence model p.
        guide: the sequence guide q.
        particles: per sequence, K, at least 2.
        threshold: particles are resampled if the effective sample size is below this share of K; 0
            never resamples, a value above 1 always does.
        signal: "local" (discount 0), "future" (discount 1), or the discount itself.
    """

    needs: ClassVar[Needs] = Needs(sequential=True)

    def __init__(
        self, model: Model, guide: Guide, *, particles: int, threshold: float, signal: Signal
    ) -> None:
        super().__init__(model, guide)
        self.particles = particles
        self.threshold = threshold
        self.discount = discount_of(signal)

    def programs(self) -> tuple[SequenceProgram, SequenceProgram]:
        """Model and guide, which run frame by frame.

        Raises:
            CompatibilityError: one of them does not.
        """
        model, guide = self.model, self.guide
        if isinstance(model, SequenceProgram) and isinstance(guide, SequenceProgram):
            return model, guide
        raise CompatibilityError(
            f"{type(model).__name__} with {type(guide).__name__} does not run frame by frame, "
            "which a particle filter needs; use rws or rloo"
        )

    def bound_loss(self, found: Filtered, *, stop_gradient: bool = False) -> Loss:
        """Minus (bound + score term) per sequence.

        Args:
            found: the filter that has run.
            stop_gradient: whether particles keep the gradient of their ancestors' weights.
        """
        increments = found.increments(stop_gradient=stop_gradient)
        surrogate = increments.sum(-1).mean()
        scored = [name for name, site in self.guide.latents.items() if not site.pathwise]
        if scored:
            surrogate = surrogate + self._score_term(found, increments.detach(), scored)
        return Loss(-surrogate, self.report(found, increments), by_name(found))

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The bound of a particle filter with K particles, without a twist."""
        pair = self.model, self.guide
        return validate(*pair, sequences, particles=self.particles, estimator="fivo", seed=seed)

    def report(self, found: Filtered, increments: Tensor) -> dict[str, Tensor]:
        """The bound in nats per frame, by the key that is the headline."""
        return {self.headline: increments.detach().sum() / found.mask.sum()}

    def _score_term(self, found: Filtered, increments: Tensor, scored: Sequence[str]) -> Tensor:
        """Sum of the scores of draws of some sites times their signals, per sequence."""
        with torch.no_grad():
            own = increments - without_each(found.log_weights(), found.log_ratios)
            ahead = reward_to_go(increments, self.discount) - increments
        return ((own + ahead) * found.log_drawn(scored)).sum((0, -1)).mean()


def by_name(found: Filtered) -> dict[str, Tensor]:
    """The log-probabilities of every site, used to name the cause of a non-finite number."""
    sites = {f"p({name})": nats.detach() for name, nats in found.log_p.items()}
    return sites | {f"q({name})": nats.detach() for name, nats in found.log_q.items()}


def without_each(log_weights: Tensor, log_ratios: Tensor) -> Tensor:
    r"""The log of a weighted mean, each term in turn replaced by the geometric mean of the rest.

    .. math:: \log \Big(\sum_{j \ne k} W^j e^{l^j} + W^k e^{\bar l^{-k}}\Big), \qquad
        \bar l^{-k} = \frac1{K-1} \sum_{j \ne k} l^j

    Args:
        log_weights: normalised, (K, B, T).
        log_ratios: l, (K, B, T).

    Returns:
        For every k, (K, B, T).

    >>> even = torch.full((2, 1, 1), 0.5).log()
    >>> without_each(even, torch.tensor([1.0, 3.0]).view(2, 1, 1)).flatten().tolist()
    [3.0, 1.0]
    """
    particles = len(log_ratios)
    others = (log_ratios.sum(0) - log_ratios) / (particles - 1)
    joint = (log_weights + log_ratios).expand(particles, *log_ratios.shape)
    own = torch.eye(particles, dtype=torch.bool, device=log_ratios.device)[..., None, None]
    return torch.where(own, log_weights + others, joint).logsumexp(1)
