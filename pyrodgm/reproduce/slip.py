"""An index slip of the published code: latents of order 1 depend on the frame they predict."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.expectation import expected
from pyrodgm.engine.smc import ParticleFilter
from pyrodgm.evaluate.prediction.one_step import Tick, before_each_frame
from pyrodgm.guides import StepGuide
from pyrodgm.models import TSBN, Model, StepModel


def has_slip(model: Model) -> bool:
    """Whether the published code of a model has the slip: that of a TSBN of order 1."""
    return isinstance(model, TSBN) and model.history == 1


def slipped_step(
    model: StepModel, guide: StepGuide, batch: Batch, *, samples: int, tick: Tick
) -> tuple[Tensor, Tensor]:
    r"""Expectation of every frame with latents that depend on the frame itself.

    .. math:: \mathbb{E}[x_t \mid z_t, x_{t-1}], \qquad z_t \sim p(z_t \mid z_{t-1}, x_t), \;
        z_{t-1} \sim q(z_{t-1} \mid x_{<t})

    The frame takes the place of its predecessor. The arguments are those of
    `pyrodgm.evaluate.prediction.one_step.one_step`.

    Returns:
        Expectations (B, T, D), and log-likelihood estimates of every frame (B, T), in nats; the
        latter are computed without the slip.

    Reference: `tsbn_calc_pred_error` of the code of Gan et al., Deep temporal sigmoid belief
    networks, 2015.
    """
    whole = ParticleFilter(model, guide, batch, samples)
    frames = []
    for t, particles in enumerate(before_each_frame(whole, guide, tick)):
        particles.resample()
        latents, _ = particles.ahead(windows={"x": batch.x[:, t]})
        _, distribution = particles.ahead(values=latents)
        means = expected(distribution, particles.shape)
        frames.append(torch.einsum("kb,kbd->bd", particles.weights.to(means.dtype), means))
    return torch.stack(frames, 1), torch.stack(whole.increments, -1)
