"""Validation scores, by which the weights of a run are chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import pair_factors
from pyrodgm.errors import NonFiniteError
from pyrodgm.evaluate.likelihood.bound import LIKELIHOODS, Bound
from pyrodgm.evaluate.likelihood.bounds import Estimator, bound
from pyrodgm.evaluate.likelihood.quadrature import quadrature
from pyrodgm.evaluate.likelihood.weights import has_weights
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.guides import Guide
from pyrodgm.models import Model

ADVERSARIAL_ESTIMATE = "adversarial_estimate_nats_per_frame"  # of the bound, by a critic
COARSE = 256  # cells along every latent, of quadrature in training
EXACT, BOUND, FILTER = "exact", "bound", "filter bound"
ANNEALED = "annealed estimate"
HELD_OUT, NOTHING = "held-out tokens", "nothing"
WORDS = {
    EXACT: "the log-likelihood on {}",
    BOUND: "the bound on {}",
    FILTER: "the bound of a particle filter on {}",
    ANNEALED: "an estimate by short annealing on {}",
    HELD_OUT: "the log-likelihood of the tokens held out of {}",
}


@dataclass(frozen=True)
class Validation:
    """A validation score and the numbers reported beside it.

    Args:
        by: name of the score: "exact" (the log-likelihood), "bound" (on it, with one draw), "bound
            with 10 draws", "filter bound" (on it, by a particle filter), "annealed
            estimate" (by short chains of some frames), "held-out tokens", a phrase of an objective
            such as "pseudo-likelihood", or "nothing".
        score: higher is better; None if there is no score, and then the last weights are kept.
        numbers: shown and recorded, by key, each with its unit in the key.
        shown: keys of those that are worth seeing beside the score in training.

    Raises:
        NonFiniteError: the score is not a number.
    """

    by: str = NOTHING
    score: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    shown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.score is not None and math.isnan(self.score):
            raise NonFiniteError(f"{in_words(self.by)} is {self.score}")

    @classmethod
    def of(cls, bound: Bound, held_out: float | None = None) -> Validation:
        """The validation score by a bound, or by held-out tokens if there are any.

        With held-out tokens, the observations of validation are those of training, so only the
        held-out tokens reveal overfitting.

        Args:
            bound: of the observations.
            held_out: nats per held-out token.
        """
        numbers = {
            "nats_per_frame": bound.nats_per_frame,
            "nats_per_frame_sequence_weighted": bound.nats_per_frame_sequence_weighted,
        }
        if held_out is None:
            one_or_more = BOUND if bound.particles == 1 else f"{BOUND} with {bound.particles} draws"
            known = {"fivo": FILTER, **dict.fromkeys(LIKELIHOODS, EXACT)}
            by = known.get(bound.estimator, one_or_more)
            return cls(by, bound.nats_per_frame, numbers)
        return cls(HELD_OUT, held_out, {**numbers, "nats_per_held_out_token": held_out})


def in_words(by: str, split: str = "validation") -> str:
    """The name of a validation score, as part of a sentence, on validation or another split."""
    article = "the " if by.startswith(BOUND) else ""
    return WORDS.get(by, f"{article}{by} on {{}}").format(split)


def choice(by: str) -> str:
    """A sentence on how the weights were chosen."""
    if by == NOTHING:
        return "The weights are the last ones: the objective gives no validation score."
    return f"The weights were chosen by {in_words(by)}."


def validate(
    model: Model,
    guide: Guide,
    valid: Sequences,
    *,
    particles: int = 1,
    estimator: Estimator = "auto",
    seed: int = 0,
) -> Validation:
    """Evaluate on the validation split, by default with one draw per sequence.

    Where the guide has no density, by quadrature on a coarse grid.

    Args:
        model: the model p.
        guide: the guide q.
        valid: the split.
        particles: draws per sequence, K.
        estimator: of the bound, as in `bound`.
        seed: of the draws; the global generator is left alone.

    Raises:
        NonFiniteError: the bound is not finite.
    """
    if has_weights(model, guide):
        found = bound(model, guide, valid, particles=particles, estimator=estimator, seed=seed)
    else:
        nats = quadrature(model, valid, finest=COARSE)
        found = Bound.of(nats, valid.lengths, "quadrature")
    if not math.isfinite(found.nats_per_example):
        raise NonFiniteError(f"the bound on validation is {found.nats_per_example}")
    if valid.held_out is None:
        return Validation.of(found)
    return Validation.of(found, nats_per_held_out_token(model, guide, valid, seed=seed))


def nats_per_held_out_token(
    model: Model, guide: Guide, sequences: Sequences, *, draws: int = 20, seed: int = 0
) -> float:
    r"""Mean log-probability of held-out tokens given the guide's draws, which depend on the others.

    .. math:: \sum_{t w} c_{tw} \log \frac1K \sum_k p(w \mid z^k_{\le t}, x_{<t}) \Big/
        \sum_{t w} c_{tw}, \qquad z^k \sim q(z \mid x)

    Args:
        model: a model of counts.
        guide: the guide q.
        sequences: a split with held-out tokens c.
        draws: paths of the latents, K.
        seed: of the draws; the global generator is left alone.
    """
    nats, tokens = 0.0, 0.0
    with drawing(model, seed, "held-out tokens") as device:
        probabilities = torch.zeros(())
        for rows, part in chunks(sequences.lengths, draws, width=model.frame_size):
            batch, counts = sequences.batch(rows).to(device), sequences.held_out_batch(rows)
            paths = part.stop - part.start
            terms, _ = pair_factors(model, guide, batch, paths)
            (name,) = model.observed
            mean = terms[name].distribution.mean
            several = (mean / mean.sum(-1, keepdim=True)).expand(paths, *counts.shape).mean(0)
            probabilities = probabilities + paths / draws * several
            if part.stop == draws:  # all paths of these sequences are done
                nats += float(torch.xlogy(counts.to(probabilities), probabilities).sum())
                tokens += float(counts.sum())
                probabilities = torch.zeros(())
    return nats / tokens
