"""Importance weights of draws from the guide."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrodgm.arguments import check_whole
from pyrodgm.data.base import Sequences
from pyrodgm.engine.terms import terms
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.quadrature import integrates
from pyrodgm.evaluate.passes import Progress, chunks, drawing, silent
from pyrodgm.guides import Guide
from pyrodgm.models import Model


def has_weights(model: Model, guide: Guide) -> bool:
    """Whether the guide's draws have importance weights: both must have normalised densities."""
    return model.traits.density == "normalised" and guide.traits.has_density


def has_bound(model: Model, guide: Guide) -> bool:
    """Whether the log-likelihood, or a bound on it, is computed by default.

    By importance weights, or by quadrature if there are few latents and little data; see
    `pyrodgm.evaluate.likelihood.quadrature`.
    """
    return has_weights(model, guide) or (model.traits.density == "normalised" and integrates(model))


def refuse_without_weights(model: Model, guide: Guide) -> None:
    """Raise if draws from the guide have no importance weights.

    Raises:
        UsageError: the model or the guide has no density.
    """
    if not has_weights(model, guide):
        without = guide if model.traits.density == "normalised" else model
        raise UsageError(
            f"{type(without).__name__} has no density that can be computed, and bounds on the "
            "log-likelihood and checks are made of importance weights, which need one; pyrodgm "
            "evaluate without options, sample and report show what there is"
        )


def importance_weights(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    particles: int,
    seed: int = 0,
    progress: Progress = silent,
) -> Tensor:
    """Log importance weights of K draws for every sequence, (K, N), in double precision.

    `progress` is called with the share done, in [0, 1].

    Raises:
        UsageError: no particles, or no densities.
    """
    refuse_without_weights(model, guide)
    check_whole(particles=particles)
    log_w = torch.empty(particles, len(sequences), dtype=torch.float64)
    with drawing(model, seed, "importance weights") as device:
        for rows, part in chunks(
            sequences.lengths, particles, width=model.frame_size, progress=progress
        ):
            batch = sequences.batch(rows).to(device)
            drawn = terms(model, guide, batch, part.stop - part.start)
            log_w[part, torch.from_numpy(rows)] = drawn.log_w.sum(-1).double().cpu()
    return log_w


def latent_nats(
    model: Model, guide: Guide, sequences: Sequences, *, draws: int = 10, seed: int = 0
) -> float:
    r"""KL divergence from the prior to the guide, in nats per frame.

    .. math:: E_q \Big[\sum_t \log q(z_t \mid z_{<t}, x) - \log p(z_t \mid z_{<t}, x_{<t})\Big]
        \Big/ T

    This is the part of the ELBO that is not reconstruction. It is zero if the guide equals the
    prior: the latents are then unused (posterior collapse).
    """
    nats = 0.0
    with drawing(model, seed, "latent nats") as device:
        for rows, part in chunks(sequences.lengths, draws, width=model.frame_size):
            batch = sequences.batch(rows).to(device)
            kl = terms(model, guide, batch, part.stop - part.start).kl
            nats += sum(float(each.double().sum()) for each in kl.values())
    return nats / (draws * sequences.num_frames)
