"""Which weights are best? What a training run learns from the validation split."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import pair_factors
from pyrodgm.evaluate.likelihood.bounds import Bound, bound
from pyrodgm.evaluate.passes import chunks
from pyrodgm.guides import Guide
from pyrodgm.models import Model
from pyrodgm.seeds import forked


@dataclass(frozen=True)
class Validation:
    """How good weights are on validation.

    Args:
        bound: of the observations, with one draw.
        nats_per_held_out_token: of the tokens that are held out; None where none are.
    """

    bound: Bound
    nats_per_held_out_token: float | None = None

    @property
    def score(self) -> float:
        """What weights are chosen by, in nats; higher is better.

        Where tokens are held out, the observations of validation are those of training, and only
        what is held out can tell learning from learning by heart.
        """
        held_out = self.nats_per_held_out_token
        return self.bound.nats_per_frame if held_out is None else held_out

    def to_dict(self) -> dict[str, float]:
        """The lines of `metrics.jsonl`."""
        values = {
            "valid_nats_per_frame": self.bound.nats_per_frame,
            "valid_nats_per_frame_sequence_weighted": self.bound.nats_per_frame_sequence_weighted,
        }
        if self.nats_per_held_out_token is not None:
            values["valid_nats_per_held_out_token"] = self.nats_per_held_out_token
        return values


def validate(model: Model, guide: Guide, valid: Sequences, *, seed: int = 0) -> Validation:
    """Look at the validation split once.

    Args:
        model: the model p.
        guide: the guide q.
        valid: the split.
        seed: of the draws; the global generator is left alone.
    """
    found = bound(model, guide, valid, seed=seed)
    if valid.held_out is None:
        return Validation(found)
    return Validation(found, nats_per_held_out_token(model, guide, valid, seed=seed))


def nats_per_held_out_token(
    model: Model, guide: Guide, sequences: Sequences, *, draws: int = 20, seed: int = 0
) -> float:
    r"""How well the guide's draws, which have seen the other tokens, predict those held out.

    .. math:: \sum_{t w} c_{tw} \log \frac1K \sum_k p(w \mid z^k_{\le t}, x_{<t}) \Big/
        \sum_{t w} c_{tw}, \qquad z^k \sim q(z \mid x)

    Args:
        model: a model of counts.
        guide: the guide q.
        sequences: a split with held-out tokens c.
        draws: paths of the latents, K.
        seed: of the draws; the global generator is left alone.
    """
    device, nats, tokens = next(model.parameters()).device, 0.0, 0.0
    with torch.no_grad(), forked(seed, "held-out tokens"):
        chances = torch.zeros(())
        for rows, part in chunks(sequences.lengths, draws, width=model.frame_size):
            batch, counts = sequences.batch(rows).to(device), sequences.held_out_batch(rows)
            paths = part.stop - part.start
            terms, _ = pair_factors(model, guide, batch, paths)
            (name,) = model.observed
            mean = terms[name].distribution.mean
            several = (mean / mean.sum(-1, keepdim=True)).expand(paths, *counts.shape).mean(0)
            chances = chances + paths / draws * several
            if part.stop == draws:  # all paths of these sequences
                nats += float(torch.xlogy(counts.to(chances), chances).sum())
                tokens += float(counts.sum())
                chances = torch.zeros(())
    return nats / tokens
