"""The sleep phase: the guide's log-probabilities of latents that the model has drawn."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.auxiliary import extended
from pyrodgm.engine.draws import score, simulate_like
from pyrodgm.engine.frozen import frozen
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.errors import CompatibilityError
from pyrodgm.objectives.base import Loss, Objective
from pyrodgm.objectives.single import sequence_mean

Share = Annotated[float, Field(ge=0, le=1)]


def sleep_terms(
    model: nn.Module, guide: nn.Module, batch: Batch, particles: int
) -> dict[str, Tensor]:
    r"""Log-probabilities under the guide of K joint draws of the model for every row, by site.

    .. math:: (x', z') \sim p_\theta(x, z), \qquad \log q_\phi(z' \mid x')

    The draws, called dreams, have the lengths, the conditions and the missing values of the batch.
    Gradients flow to the guide's own parameters alone.

    Args:
        model: the model p, a sequence model.
        guide: the guide q.
        batch: B sequences of T frames, whose observations are not used.
        particles: dreams in the shape of every sequence, K.

    Returns:
        Nats, (1, K B, T), zero where a frame is padding.

    Raises:
        CompatibilityError: the model cannot be drawn from frame by frame.
    """
    if not isinstance(model, SequenceProgram):
        raise CompatibilityError(
            f"{type(model).__name__} does not run frame by frame, and the sleep phase draws its "
            "observations; derive it from StepModel, or use rws or jsa with sleep=0"
        )
    whole = extended(model, guide)
    drawn, dreams = simulate_like(whole, batch, particles)
    latents = {name: z.flatten(0, 1)[None] for name, z in drawn.items()}
    with frozen(model.parameters()):
        return score(guide, dreams, latents)


def with_sleep(
    wake: Loss, objective: Objective, batch: Batch, *, share: float, particles: int
) -> Loss:
    r"""The loss of wake phases, and the sleep phase of the guide with a share of its gradient.

    .. math:: \text{wake} - s \, \frac1K \sum_k \log q_\phi(z'^k \mid x'^k)

    Args:
        wake: in which log q has the share 1 - s.
        objective: whose model and guide they are.
        batch: B sequences of T frames.
        share: s; nothing is drawn if it is zero.
        particles: dreams in the shape of every sequence, K.
    """
    if share == 0:
        return wake
    log_q = sleep_terms(objective.model, objective.guide, batch, particles)
    surrogate = wake.surrogate - share * sequence_mean(torch.stack([*log_q.values()]).sum(0))
    named = {f"q({name}) of dreams": nats.detach() for name, nats in log_q.items()}
    return Loss(surrogate, wake.report, {**wake.sites, **named})
