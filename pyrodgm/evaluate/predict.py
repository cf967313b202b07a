"""How well is the next frame predicted, having seen a sequence up to it?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Kind, Sequences, Splits
from pyrodgm.errors import DataError, UsageError
from pyrodgm.evaluate.baselines import baselines
from pyrodgm.evaluate.particles import beginning, expected, portions
from pyrodgm.evaluate.smc import ParticleFilter, over_time
from pyrodgm.guides import Guide, SequenceGuide
from pyrodgm.models import TSBN, Model, SequenceModel
from pyrodgm.seeds import forked

TINY = 1e-20  # where nothing is expected, nothing is scaled up

Method = Literal["filtered", "published", "published-order1"]


@dataclass(frozen=True)
class Prediction:
    """Squared errors of predictions of every frame from those before it.

    Args:
        method: how they were made.
        samples: draws that one is a mean of; 1 where nothing is drawn.
        errors: mean over a sequence's frames from the second on of the squared error summed over
            features, (N,); of what was observed, over the frames in which something was. NaN where
            there are none.
        nats: estimate of the log-likelihood of every sequence that came with them, (N,); None
            where a predictor has none.
        frames: of all sequences.
    """

    method: str
    samples: int
    errors: np.ndarray
    nats: np.ndarray | None
    frames: int

    @property
    def squared_error(self) -> float:
        """Mean over sequences."""
        return float(np.nanmean(self.errors))

    @property
    def sd(self) -> float:
        """Standard deviation over sequences; NaN where there is one."""
        kept = self.errors[~np.isnan(self.errors)]
        return float(kept.std(ddof=1)) if len(kept) > 1 else math.nan

    @property
    def standard_error(self) -> float:
        """Of the mean, over sequences; NaN where there is one."""
        return self.sd / math.sqrt((~np.isnan(self.errors)).sum())

    @property
    def nats_per_frame(self) -> float | None:
        """Log-likelihood estimate over all frames, divided by their number."""
        return None if self.nats is None else float(self.nats.sum() / self.frames)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = {
            "samples": self.samples,
            "squared_error": self.squared_error,
            "standard_error": self.standard_error,
            "sd": self.sd,
            "nats_per_frame": self.nats_per_frame,
        }
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def one_step(
    model: SequenceModel,
    guide: SequenceGuide,
    batch: Batch,
    *,
    samples: int = 20,
    method: Method = "filtered",
) -> tuple[Tensor, Tensor]:
    r"""What is expected of every frame having seen those before it.

    .. math:: \sum_k W^k_{t-1}\, \mathbb{E}[x_t \mid z^k_{\le t}, x_{<t}], \qquad
        z^k_t \sim p(z_t \mid z^k_{<t}, x_{<t})

    with particles of frames before t as of `ParticleFilter`. With one sample all weights are one:
    :math:`z_{<t} \sim q(z_{<t} \mid x_{<t})`, as published. A guide that looks ahead runs anew on
    every beginning of the sequences, at a cost quadratic in T.

    Args:
        model: a sequence model.
        guide: a sequence guide.
        batch: B sequences.
        samples: particles K.
        method: "published-order1" draws :math:`z_t` from :math:`z_{t-1}` and :math:`x_t`, the frame
            that it predicts, in the place of :math:`x_{t-1}`.

    Returns:
        Expectations (B, T, D), and log-likelihood estimates of every frame (B, T), in nats.

    Reference: Gan et al., Deep temporal sigmoid belief networks, 2015, section 5; the slip of
    "published-order1" is in the published code of order 1, `tsbn_calc_pred_error`.
    """
    whole = ParticleFilter(model, guide, batch, samples)
    frames = []
    for t in range(batch.length):
        now = whole
        if not guide.traits.causal:
            start = beginning(batch, torch.full_like(batch.index, max(t, 1)))
            now = ParticleFilter(model, guide, start, samples)
            for _ in range(t):
                now.advance()
        frames.append(
            _next_frame(now, leak=batch.x[:, t] if method == "published-order1" else None)
        )
        whole.advance()
    return torch.stack(frames, 1), torch.stack(whole.increments, -1)


def _next_frame(particles: ParticleFilter, leak: Tensor | None) -> Tensor:
    """What is expected of the frame to come, (B, D)."""
    particles.resample()
    values = None
    if leak is not None:
        values, _ = particles.ahead(windows={"x": leak})
    _, law = particles.ahead(values=values)
    means = expected(law, particles.shape)
    return torch.einsum("kb,kbd->bd", particles.weights.to(means.dtype), means)


def expected_frames(
    model: SequenceModel, guide: SequenceGuide, batch: Batch, *, samples: int = 20, seed: int = 0
) -> Tensor:
    """What is expected of every frame having seen those before it, (B, T, D); see `one_step`.

    Args:
        model: a sequence model.
        guide: a sequence guide.
        batch: B sequences.
        samples: particles K.
        seed: of the draws; the global generator is left alone.
    """
    device = next(model.parameters()).device
    with torch.no_grad(), forked(seed, "predict"):
        return one_step(model, guide, batch.to(device), samples=samples)[0].cpu()


def predict(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    kind: Kind,
    method: Method = "filtered",
    samples: int = 20,
    seed: int = 0,
) -> Prediction:
    """One-step-ahead prediction of every frame of every sequence.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: the split.
        kind: of its values; predicted counts are scaled to the total of the frame.
        method: "filtered" is a mean over weighted samples; "published" one sample per frame;
            "published-order1" the same with the slip of the published code, see `one_step`.
        samples: of the method "filtered".
        seed: of the draws; the global generator is left alone.

    Raises:
        UsageError: no sequence model, no samples, or a slip that the model cannot have.
        DataError: no sequence has a second frame.
    """
    p, q = over_time(model, guide)
    if samples < 1:
        raise UsageError(f"samples is {samples}; give at least 1")
    if method == "published-order1" and not (isinstance(model, TSBN) and model.history == 1):
        raise UsageError("the published slip is one of the model tsbn with history 1")
    samples = samples if method == "filtered" else 1
    device, nats = next(p.parameters()).device, np.empty(len(sequences))

    def expect(batch: Batch) -> Tensor:
        means, found = one_step(p, q, batch.to(device), samples=samples, method=method)
        nats[batch.index.numpy()] = found.sum(-1).cpu().numpy()
        return means.cpu()

    with torch.no_grad(), forked(seed, "predict", method):
        errors = sequence_errors(sequences, expect, kind, samples)
    return Prediction(method, samples, errors, nats, sequences.num_frames)


def predictions(
    model: Model, guide: Guide, splits: Splits, split: str, *, samples: int = 20, seed: int = 0
) -> dict[str, Prediction]:
    """Predictions of a split by every method that fits, and by trivial predictors beside them.

    Args:
        model: the model p.
        guide: the guide q.
        splits: the data.
        split: which is predicted.
        samples: of the filtered prediction.
        seed: of the draws.

    Raises:
        UsageError: as of `predict`.
    """
    p, _ = over_time(model, guide)
    kind, sequences = splits.info.kind, splits[split]
    found = {
        method: predict(
            model, guide, sequences, kind=kind, method=method, samples=samples, seed=seed
        )
        for method in methods_of(model)
    }
    return found | baseline_predictions(splits, split, order=max(1, p.history))


def methods_of(model: Model) -> tuple[Method, ...]:
    """The methods by which a model predicts."""
    if not model.latents:
        return ("filtered",)
    if isinstance(model, TSBN) and model.history == 1:
        return ("filtered", "published", "published-order1")
    return ("filtered", "published")


def baseline_predictions(splits: Splits, split: str, *, order: int) -> dict[str, Prediction]:
    """Predictions of a split by trivial predictors, see `pyrodgm.evaluate.baselines.baselines`."""
    sequences = splits[split]
    found = {}
    for name, predictor in baselines(splits, order).items():
        errors = sequence_errors(sequences, predictor, splits.info.kind, 1)
        found[name] = Prediction(name, 1, errors, None, sequences.num_frames)
    return found


def sequence_errors(
    sequences: Sequences, predictor: Callable[[Batch], Tensor], kind: Kind, particles: int
) -> np.ndarray:
    """Mean squared error per frame of every sequence, (N,); see `Prediction`.

    Args:
        sequences: N of them.
        predictor: from a batch to what is expected of its frames, (B, T, D).
        kind: of the values.
        particles: that the predictor moves per sequence.

    Raises:
        DataError: no sequence has a second frame.
    """
    if sequences.lengths.max() < 2:
        raise DataError("no sequence has a second frame: there is nothing to predict")
    errors = np.empty(len(sequences))
    for rows in portions(sequences, particles):
        batch = sequences.batch(rows)
        means = predictor(batch)
        there = batch.mask[..., None] if batch.seen is None else batch.seen
        x, means = batch.x * there, means * there
        if kind == "count":
            means = means * (x.sum(-1, keepdim=True) / means.sum(-1, keepdim=True).clamp(min=TINY))
        squared = (x - means).square().sum(-1)[:, 1:].double().sum(-1)
        steps = there.any(-1)[:, 1:].sum(-1)
        errors[rows] = (squared / steps.where(steps > 0, math.nan)).numpy()
    return errors
