"""Run the guide, score the model on its draws, return log-probabilities.

Two kinds of program give the same `LogProbs`: one whose sites span time, here, and one with a site
per step, such as any user's own program written with `pyro.markov`, in `pyrodgm.engine.stepwise`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.distributions.util import scale_and_mask
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import partial
from pyrodgm.engine.rollout import Rollout, SequenceProgram
from pyrodgm.errors import CompatibilityError
from pyrodgm.turns import PROCESS

Site = dict[str, Any]


@dataclass(frozen=True)
class LogProbs:
    """Log-probabilities of one draw from the guide, in nats, zero where a frame is padding.

    Args:
        log_p: the model's, latents and observations together, (K, B, T).
        log_q: the guide's, (K, B, T).
        log_path: the part of `log_q` whose draws carry a gradient, (K, B, T).
        log_score: the rest, of which the gradient is the score of a draw, (K, B, T); as it is where
            a plate that is subsampled, or `poutine.scale`, counts other terms several times, for
            the cost that it is multiplied with is counted so already.
        mask: True where a frame is data, (B, T).
        x: what was observed in each frame, (B, T, D); None where frames differ in kind.
        sites: every term by name, ``p(z)``, ``p(x)``, ``q(z)``; for reports and error messages.
        values: the latents drawn, by site name.
    """

    log_p: Tensor
    log_q: Tensor
    log_path: Tensor
    log_score: Tensor
    mask: Tensor
    x: Tensor | None
    sites: Mapping[str, Tensor]
    values: Mapping[str, Tensor]

    @property
    def log_w(self) -> Tensor:
        """Log importance weights per frame, log p - log q, (K, B, T)."""
        return self.log_p - self.log_q

    @property
    def direct(self) -> Tensor:
        """The terms to differentiate as they stand, (K, B, T): log p - log q without scored sites.

        The gradient of a scored site's own log q has mean zero and only adds variance.
        """
        return self.log_p - self.log_path

    def report(self) -> dict[str, Tensor]:
        """The evidence lower bound of these draws, in nats per frame."""
        frames = self.mask.sum() * self.log_p.shape[0]
        return {"elbo_nats_per_frame": self.log_w.detach().sum() / frames}


@dataclass(frozen=True)
class Term:
    """One site of a program in all frames of K draws.

    Args:
        value: what was drawn or observed, (K, B, T, D).
        law: its distribution in every frame, given what the draws before it were.
        log_prob: nats, (K, B, T), zero where a frame is padding.
        log_score: the same without a scale.
        pathwise: whether gradients flow through the draw.
    """

    value: Tensor
    law: TorchDistribution
    log_prob: Tensor
    log_score: Tensor
    pathwise: bool


Terms = dict[str, Term]


def pair_terms(
    model: Callable[..., Any], guide: Callable[..., Any], batch: Batch, particles: int
) -> tuple[Terms, Terms]:
    """Every site of the model and of the guide, on K draws from the guide.

    A sequence program is run by its step alone; any other is traced by Pyro, under a plate of
    draws at dimension -3, and its sites must have batch shape (B, T).

    Args:
        model: the model p.
        guide: the guide q.
        batch: B sequences of T frames.
        particles: number of draws K.

    Raises:
        CompatibilityError: the two do not draw the same latent sites.
    """
    with PROCESS.taken():
        return _pair_terms(model, guide, batch, particles)


def _pair_terms(
    model: Callable[..., Any], guide: Callable[..., Any], batch: Batch, particles: int
) -> tuple[Terms, Terms]:
    proposed = _drawn(guide, batch, particles)
    values = {name: term.value for name, term in proposed.items()}
    if isinstance(model, SequenceProgram):
        _refuse_others(set(model.latents), set(proposed))
        known = {**values, **dict.fromkeys(model.observed, batch.x)}
        return _rolled(Rollout.over(model, batch, known, particles), batch), proposed
    sites = _traced(poutine.condition(model, data=values), batch, particles)
    latent = {name for name, site in sites.items() if not site["is_observed"]}
    _refuse_others(latent | (values.keys() & sites.keys()), set(proposed))
    return {name: _term_of(site) for name, site in sites.items()}, proposed


def _drawn(guide: Callable[..., Any], batch: Batch, particles: int) -> Terms:
    if isinstance(guide, SequenceProgram):
        rollout = Rollout.over(guide, batch, {}, particles)
        rollout.draw()
        return _rolled(rollout, batch)
    sites = _traced(guide, batch, particles)
    return {name: _term_of(site) for name, site in sites.items() if not site["is_observed"]}


def _rolled(rollout: Rollout, batch: Batch) -> Terms:
    """The sites of a sequence program on the paths that it has been carried over."""
    program, laws, zero = rollout.program, rollout.score(), batch.x.new_zeros(())
    terms: Terms = {}
    for name in (*program.latents, *program.observed):
        seen = batch.seen if name in program.observed else None
        value, law = rollout.values[name], laws[name]
        nats = torch.where(batch.mask, partial(law, seen).log_prob(value), zero)
        terms[name] = Term(value, law, nats, nats, program.reparameterised)
    return terms


def _traced(program: Callable[..., Any], batch: Batch, particles: int) -> dict[str, Site]:
    """Sample sites of any Pyro program on a batch."""
    with pyro.plate("particles", particles, dim=-3):
        return _sample_sites(poutine.trace(program).get_trace(batch))


def _term_of(site: Site) -> Term:
    nats = scale_and_mask(site["fn"].log_prob(site["value"]), mask=site["mask"])
    log_prob = scale_and_mask(nats, site["scale"])
    return Term(site["value"], site["fn"], log_prob, nats, is_pathwise(site))


def log_probs(
    model: Callable[[Batch], Any], guide: Callable[[Batch], Any], batch: Batch, particles: int = 1
) -> LogProbs:
    """Log-probabilities of K draws from the guide, by frame.

    Args:
        model: the model p.
        guide: the guide q, over the same latent sites.
        batch: B sequences of T frames.
        particles: number of draws K.
    """
    model_terms, guide_terms = pair_terms(model, guide, batch, particles)
    shape = (particles, batch.size, batch.length)
    log_p = {name: term.log_prob.expand(shape) for name, term in model_terms.items()}
    log_q = {name: term.log_prob.expand(shape) for name, term in guide_terms.items()}
    zero = batch.x.new_zeros(shape)
    return LogProbs(
        log_p=sum(log_p.values(), zero),
        log_q=sum(log_q.values(), zero),
        log_path=sum((term.log_prob for term in guide_terms.values() if term.pathwise), zero),
        log_score=sum((term.log_score for term in guide_terms.values() if not term.pathwise), zero),
        mask=batch.mask,
        x=batch.x,
        sites={f"p({name})": value for name, value in log_p.items()}
        | {f"q({name})": value for name, value in log_q.items()},
        values={name: term.value for name, term in guide_terms.items()},
    )


def _refuse_others(latent: set[str], proposed: set[str]) -> None:
    if latent != proposed:
        raise CompatibilityError(
            f"the guide draws {sorted(proposed - latent) or 'nothing'} that the model does not "
            f"know, and the model draws {sorted(latent - proposed) or 'nothing'} that the guide "
            "does not; both must draw the same sites"
        )


def _sample_sites(trace: Any) -> dict[str, Site]:
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not isinstance(site["fn"], _Subsample)
    }


def is_pathwise(site: Site) -> bool:
    """Whether gradients flow through the draw at this site."""
    return bool(getattr(site["fn"], "has_rsample", False))
