"""One-step-ahead prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pyrodgm.arguments import check_whole
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Kind, Sequences
from pyrodgm.distributions import Symbols
from pyrodgm.engine.expectation import expected
from pyrodgm.engine.particles import beginning, symbols_of
from pyrodgm.engine.smc import ParticleFilter
from pyrodgm.evaluate.passes import Progress, drawing, over_time, portions, silent
from pyrodgm.evaluate.prediction.errors import Errors, Prediction, sequence_errors
from pyrodgm.evaluate.prediction.frame_chains import expected_given_past, predict_frames
from pyrodgm.evaluate.trivial.counts import scores_totals
from pyrodgm.evaluate.trivial.predictors import Predictor
from pyrodgm.evaluate.trivial.symbols import log_scores
from pyrodgm.guides import Guide, StepGuide
from pyrodgm.models import FrameEnergyModel, Model, StepModel

Tick = Callable[[int], None]


class Step(Protocol):
    """Predictions of every frame of a batch, and log-likelihoods; `one_step` is an instance."""

    def __call__(
        self, model: StepModel, guide: StepGuide, batch: Batch, *, samples: int, tick: Tick
    ) -> tuple[Tensor, Tensor]: ...


def one_step(
    model: StepModel,
    guide: StepGuide,
    batch: Batch,
    *,
    samples: int = 20,
    tick: Tick = lambda _: None,
) -> tuple[Tensor, Tensor]:
    r"""Expectation of every frame given those before it.

    .. math:: \sum_k W^k_{t-1}\, \mathbb{E}[x_t \mid z^k_{\le t}, x_{<t}], \qquad
        z^k_t \sim p(z_t \mid z^k_{<t}, x_{<t})

    with the particles of `ParticleFilter` after frame t - 1. With one sample all weights are one
    and :math:`z_{<t} \sim q(z_{<t} \mid x_{<t})`, the published predictor. A guide that is not
    causal runs again on every prefix of the sequences, at a cost quadratic in T.

    Args:
        model: a sequence model.
        guide: a sequence guide.
        batch: B sequences.
        samples: particles K.
        tick: called with the number of filter steps that were taken, see `_steps`.

    Returns:
        Expectations (B, T, D), for categorical features the probabilities of their symbols
        (B, T, S), and log-likelihood estimates of every frame (B, T), in nats.

    Reference: Gan et al., Deep temporal sigmoid belief networks, 2015, section 5.
    """
    whole = ParticleFilter(model, guide, batch, samples)
    frames = [next_frame(now) for now in before_each_frame(whole, guide, tick)]
    return torch.stack(frames, 1), torch.stack(whole.increments, -1)


def before_each_frame(
    whole: ParticleFilter, guide: StepGuide, tick: Tick = lambda _: None
) -> Iterator[ParticleFilter]:
    """Particles given the frames before t, for every t.

    Args:
        whole: a new filter; at the end it has processed all frames.
        guide: its guide. If it is not causal, every t has its own filter.
        tick: called with the number of filter steps that were taken, see `_steps`.
    """
    batch = whole.batch
    for t in range(batch.length):
        now = whole
        if not guide.traits.causal:
            start = beginning(batch, torch.full_like(batch.index, max(t, 1)))
            now = ParticleFilter(whole.model, guide, start, whole.shape[0])
            now.p.encoded = whole.p.encoded  # the conditions of the next frame are known
            for _ in range(t):
                now.advance()
        yield now
        whole.advance()
        tick(1 if guide.traits.causal else 1 + t)


def _steps(guide: StepGuide, length: int) -> int:
    """Filter steps to predict T frames: one per frame, or one per frame of every prefix."""
    return length if guide.traits.causal else length * (length + 1) // 2


def next_frame(particles: ParticleFilter) -> Tensor:
    """Expectation of the next frame, (B, D)."""
    particles.resample()
    _, distribution = particles.ahead()
    means = expected(distribution, particles.shape)
    return torch.einsum("kb,kbd->bd", particles.weights.to(means.dtype), means)


def expected_frames(
    model: Model, guide: Guide, batch: Batch, *, samples: int = 20, seed: int = 0
) -> Tensor:
    """Expectation of every frame given those before it, (B, T, D); see `one_step`.

    Args:
        model: a sequence model.
        guide: a sequence guide.
        batch: B sequences.
        samples: particles K, or chains of every frame.
        seed: of the draws; the global generator is left alone.

    Raises:
        UsageError: no sequence model.
    """
    with drawing(model, seed, "predict") as device:
        if isinstance(model, FrameEnergyModel):
            return expected_given_past(model, batch.to(device), samples).cpu()
        p, q = over_time(model, guide)
        return one_step(p, q, batch.to(device), samples=samples)[0].cpu()


@dataclass(frozen=True)
class Method:
    """A method to predict the next frame.

    Args:
        name: of the method, and of its stream of random numbers.
        step: predicts the frames of a batch.
    """

    name: str
    step: Step


FILTERED = Method("filtered", one_step)


def predict(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    kind: Kind,
    std: Sequence[float] = (),
    samples: int = 20,
    seed: int = 0,
    progress: Progress = silent,
    method: Method = FILTERED,
) -> Prediction:
    """One-step-ahead prediction of every frame of every sequence.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: the split.
        kind: of its values; predicted counts are scaled to the total of the frame.
        std: standard deviations of real features, (D,), by which errors are standardised.
        samples: particles K; one is the published predictor.
        seed: of the draws; the global generator is left alone.
        progress: called with the share done, in [0, 1].
        method: of prediction.

    Raises:
        UsageError: no sequence model, or no samples.
        DataError: no sequence has a second frame.
    """
    if isinstance(model, FrameEnergyModel):
        given = {"kind": kind, "samples": samples, "seed": seed, "progress": progress}
        return predict_frames(model, sequences, **given)
    p, q = over_time(model, guide)
    check_whole(samples=samples)
    nats = np.empty(len(sequences))
    parts = portions(sequences, samples)
    total = sum(_steps(q, int(sequences.lengths[rows].max())) for rows in parts)
    done = 0

    def tick(steps: int) -> None:
        nonlocal done
        done += steps
        progress(done / total)

    def expect(batch: Batch) -> Tensor:
        means, found = method.step(p, q, batch.to(device), samples=samples, tick=tick)
        nats[batch.index.numpy()] = found.sum(-1).cpu().numpy()
        return means.cpu()

    with drawing(p, seed, "predict", method.name) as device:
        errors = sequence_errors(sequences, expect, kind, samples, std, symbols_of(p))
    return _prediction(method.name, samples, errors, nats, sequences)


def _prediction(
    method: str, samples: int, errors: Errors, nats: np.ndarray | None, sequences: Sequences
) -> Prediction:
    summed, standardised, right = errors
    frames = sequences.num_frames
    return Prediction(method, samples, summed, standardised, nats, frames, right)


def predictions(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    info: DataInfo,
    trivial: Mapping[str, Predictor],
    *,
    samples: int = 20,
    seed: int = 0,
    progress: Callable[[str, float], None] = lambda *_: None,
) -> dict[str, Prediction]:
    """Predictions of sequences by a model, "filtered", and by trivial predictors.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: the sequences to predict.
        info: facts of the data, with the standard deviations of training.
        trivial: as in `pyrodgm.evaluate.trivial.predictors.baselines`.
        samples: of the model's prediction.
        seed: of the draws.
        progress: called with the name of the method and the share of it that is done.

    Raises:
        UsageError: as in `predict`.
    """
    if not isinstance(model, FrameEnergyModel):
        over_time(model, guide)
    kind: Kind = "real" if scores_totals(model) else info.kind  # counts are not scaled
    found = predict(
        model,
        guide,
        sequences,
        kind=kind,
        std=spread_of(info),
        samples=samples,
        seed=seed,
        progress=partial(progress, "filtered"),
    )
    return {"filtered": found, **baseline_predictions(trivial, sequences, info, kind=kind)}


def autoregressive_order(model: Model) -> int:
    """Order of the autoregression beside a model: the order of the model."""
    return max(1, model.history) if isinstance(model, StepModel | FrameEnergyModel) else 1


def baseline_predictions(
    trivial: Mapping[str, Predictor],
    sequences: Sequences,
    info: DataInfo,
    *,
    kind: Kind | None = None,
) -> dict[str, Prediction]:
    """Predictions of sequences by trivial predictors; see `pyrodgm.evaluate.trivial`.

    Args:
        trivial: the predictors, by name.
        sequences: the sequences to predict.
        info: facts of the data, with the standard deviations of training.
        kind: of the values in the computation of errors, if it differs.
    """
    known = Symbols(info.symbols) if info.symbols else None
    found = {}
    for name, predictor in trivial.items():
        errors = sequence_errors(sequences, predictor, kind or info.kind, 1, spread_of(info), known)
        nats = log_scores(predictor, sequences, info) if info.kind == "categorical" else None
        if nats is not None and not np.isfinite(nats).all():
            nats = None  # a copy has probability one, so one error has infinite cost
        found[name] = _prediction(name, 1, errors, nats, sequences)
    return found


def spread_of(info: DataInfo) -> tuple[float, ...]:
    """Standard deviations of real features; empty for other data, whose features share units."""
    return info.std if info.kind == "real" else ()
