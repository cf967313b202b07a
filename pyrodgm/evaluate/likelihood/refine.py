"""The amortisation gap: the bound of a factorised guide, before and after refinement per datum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pyrodgm.arguments import check_whole
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.display import json_number
from pyrodgm.engine.frozen import frozen
from pyrodgm.engine.refinement import (
    Posterior,
    factorised_posterior,
    moved,
    no_moves,
    noise_of,
    sampled_bounds,
)
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.bound import standard_error
from pyrodgm.evaluate.likelihood.weights import refuse_without_weights
from pyrodgm.evaluate.passes import Progress, chunks, drawing, silent
from pyrodgm.guides import Guide
from pyrodgm.models import Model

STEP_SIZE = 0.1  # of the first step, in standard deviations of the guide or in log-odds


@dataclass(frozen=True)
class Refinement:
    """Evidence lower bounds of every sequence, in nats, estimated from the same noise.

    Args:
        amortised: with the guide's own variational parameters, (N,).
        halfway: with those after half of the steps, (N,).
        refined: with those after all steps, (N,).
        draws: of the latents, for each bound.
        steps: gradient steps.
    """

    amortised: np.ndarray
    halfway: np.ndarray
    refined: np.ndarray
    draws: int
    steps: int

    @property
    def amortisation_gap(self) -> np.ndarray:
        """What refinement gains, (N,); a lower bound on the gap, and the gap if it converged."""
        return self.refined - self.amortised

    @property
    def last_gain(self) -> float:
        """Mean gain of the second half of the steps, in nats: near zero if refinement converged."""
        return float((self.refined - self.halfway).mean())

    def to_dict(self) -> dict[str, Any]:
        """Means over sequences and their standard errors, for JSON."""
        gap = self.amortisation_gap
        numbers = {
            "amortised_nats_per_example": float(self.amortised.mean()),
            "refined_nats_per_example": float(self.refined.mean()),
            "amortisation_gap_nats_per_example": float(gap.mean()),
            "standard_error_amortisation_gap_nats_per_example": standard_error(gap),
            "last_gain_nats_per_example": self.last_gain,
        }
        counts = {"examples": len(gap), "draws": self.draws, "refinement_steps": self.steps}
        return {name: json_number(value) for name, value in numbers.items()} | counts


def refine(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    steps: int = 300,
    step_draws: int = 8,
    draws: int = 100,
    step_size: float = STEP_SIZE,
    seed: int = 0,
    progress: Progress = silent,
) -> Refinement:
    r"""Optimise the variational parameters of every datum, from those of the guide.

    .. math::
        \underbrace{\log p(x) - L(q_\phi)}_{\text{inference gap}} =
        \underbrace{\log p(x) - L(q^*)}_{\text{approximation gap}} +
        \underbrace{L(q^*) - L(q_\phi)}_{\text{amortisation gap}}, \qquad
        q^* = \arg\max_{q \in \mathcal Q} L(q)

    for the family Q of independent normal numbers, bits or classes. The steps are those of Adam,
    with a size that falls to zero: along path gradients for normal numbers, and along score
    gradients with the mean of the other draws as baseline for bits and classes. Both are unbiased.
    Bounds are then estimated from noise that the steps have not seen, the same for all three; so
    the refined one is a lower bound on log p(x) in expectation, whether the steps have converged
    or not.

    Args:
        model: the model p.
        guide: a guide q with independent latents of each frame.
        sequences: the data.
        steps: gradient steps.
        step_draws: draws of the latents in each step; at least 2 where latents are discrete.
        draws: of the latents, for each bound.
        step_size: of the first step, in standard deviations of the guide or in log-odds.
        seed: of the draws; the global generator is left alone.
        progress: called with the share of the work that is done, in [0, 1].

    Raises:
        UsageError: no steps, draws or step size; or no densities.
        CompatibilityError: the guide's latents depend on each other, or are of another kind.

    Reference: Cremer, Li and Duvenaud, Inference suboptimality in variational autoencoders, 2018,
    equations 5 to 7; Ou, A review of learning with deep generative models, section 3.2.1(5).
    """
    refuse_without_weights(model, guide)
    _check(model, steps, step_draws, draws, step_size)
    nats = np.empty((3, len(sequences)))
    with drawing(model, seed, "refinement") as device:
        width = model.frame_size * max(draws, step_draws)  # all draws of a sequence together
        for rows, _ in chunks(sequences.lengths, 1, width=width, progress=progress):
            batch = sequences.batch(rows).to(device)
            start = factorised_posterior(guide, batch)
            noise = noise_of(start, draws)
            found = _refined(model, start, batch, steps, step_draws, step_size)
            for place, posterior in enumerate((start, *found)):
                bounds, _ = sampled_bounds(model, posterior, batch, noise)
                nats[place, rows] = bounds.double().mean(0).cpu().numpy()
    return Refinement(*nats, draws=draws, steps=steps)


def _check(model: Model, steps: int, step_draws: int, draws: int, step_size: float) -> None:
    discrete = any(site.kind != "continuous" for site in model.latents.values())
    least = 2 if discrete else 1
    check_whole(2, steps=steps)
    check_whole(draws=draws)
    check_whole(least, step_draws=step_draws)
    if not step_size > 0:
        raise UsageError(f"step_size is {step_size}; give a positive number")


def _refined(
    model: Model,
    start: Posterior,
    batch: Batch,
    steps: int,
    step_draws: int,
    step_size: float,
) -> Iterator[Posterior]:
    """The distributions after half of the steps, and after all of them."""
    moves = {name: move.requires_grad_() for name, move in no_moves(start).items()}
    optimiser = torch.optim.Adam(list(moves.values()), lr=step_size)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = step_size * (1 - step / steps)
        optimiser.zero_grad()
        with frozen(model.parameters()), torch.enable_grad():
            noise = noise_of(start, step_draws)
            _, surrogate = sampled_bounds(model, moved(start, moves), batch, noise)
            (-surrogate.mean(0).sum()).backward()
        optimiser.step()
        if step + 1 in (steps // 2, steps):
            yield moved(start, {name: move.detach() for name, move in moves.items()})
