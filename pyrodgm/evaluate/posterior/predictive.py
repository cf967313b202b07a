"""Predictive checks: test statistics of the data beside those of replicates from the model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr

from pyrodgm.data.base import Sequences
from pyrodgm.data.evaluation import Data
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.engine.programs import generate
from pyrodgm.evaluate.passes import Progress, chunks, silent
from pyrodgm.evaluate.posterior.statistics import p_value, share_off
from pyrodgm.evaluate.posterior.summary import Summary
from pyrodgm.evaluate.trivial.counts import scores_totals
from pyrodgm.models import StepModel
from pyrodgm.seeds import forked, numpy_generator

FEATURE_MEANS = "feature means"
TRANSITIONS = "transitions"
SHARES = (FEATURE_MEANS, TRANSITIONS)  # reported as a share of extreme p-values
MANY = 4  # factor by which this share must exceed its expectation
NUMBERS_AT_ONCE = 4_000_000  # compared together: bounds memory, not results


def observed(
    splits: Data,
    split: str,
    *,
    rows: np.ndarray | None = None,
    draws: int = 1,
    totals: bool = False,
    seed: int = 0,
) -> Summary:
    """The statistics of the data.

    Under cross-entropy, grey values are probabilities, and replicates are zeros and ones. To make
    both comparable, grey values are turned into zeros and ones at random, once per replicate.

    Args:
        splits: the data.
        split: name of the split.
        rows: rows of its sequences; all if not given.
        draws: replicates S to compare with; only grey values need more than one.
        totals: as in `Summary`.
        seed: of the zeros and ones.
    """
    sequences, grey = _chosen(splits, split, rows), splits.info.kind == "unit"
    summary = Summary(splits.info, draws if grey else 1, sequences, totals=totals)
    rng = numpy_generator(seed, "binarise")
    for some in evaluation_batches(sequences.lengths, max(1, NUMBERS_AT_ONCE // splits.info.dim)):
        batch = sequences.batch(some)
        x, mask = batch.x.numpy(), batch.mask.numpy()
        for draw in range(draws if grey else 1):
            values = rng.random(x.shape, dtype=np.float32) < x if grey else x
            summary.add(values[None], mask, slice(draw, draw + 1), some, seen=x)
    return summary


def _chosen(splits: Data, split: str, rows: np.ndarray | None) -> Sequences:
    return splits[split] if rows is None else splits[split].select(rows)


def posterior_replicates(tree: xr.DataTree, splits: Data, *, totals: bool = False) -> Summary:
    """The statistics of the replicates in a tree of `to_datatree`.

    Each frame was drawn given the observed frames before it and the guide's latents, which depend
    on the frame itself. This is the easier test, of the fit. Successive frames of a replicate are
    drawn independently of each other.
    """
    x = tree["posterior_predictive"].to_dataset()["x"]
    rows = tree["constant_data"].to_dataset()["sequence"].values
    sequences, values, draws = splits[tree.attrs["split"]].select(rows), x.values[0], x.shape[1]
    summary = Summary(splits.info, draws, sequences, totals=totals)
    most = max(1, NUMBERS_AT_ONCE // (draws * splits.info.dim))
    for some in evaluation_batches(sequences.lengths, most):
        batch = sequences.batch(some)
        time = np.arange(batch.length)
        if "frame" in x.dims:
            ends = (sequences.starts + sequences.lengths - 1)[some, None]
            drawn = values[:, np.minimum(sequences.starts[some, None] + time, ends)]
        else:
            drawn = values[:, some, : batch.length]
        if sequences.centre is not None:
            drawn = sequences.centred(torch.from_numpy(drawn)).numpy()
        mask = batch.mask.numpy()
        summary.add(drawn, mask, slice(0, draws), some, seen=batch.x.numpy(), goes_on=False)
    return summary


def prior_replicates(
    model: StepModel,
    splits: Data,
    split: str,
    *,
    rows: np.ndarray | None = None,
    draws: int = 100,
    seed: int = 0,
    progress: Progress = silent,
) -> Summary:
    """The statistics of whole sequences drawn from the model, with the lengths of the data.

    This is the harder test: the model is given conditions alone, and its errors accumulate.

    Args:
        model: a sequence model.
        splits: the data.
        split: name of the split with the lengths.
        rows: rows of its sequences; all if not given.
        draws: replicates S of the whole split.
        seed: of the draws; the global generator is left alone.
        progress: called with the share done, in [0, 1].
    """
    sequences, like = _chosen(splits, split, rows), next(model.parameters())
    summary = Summary(splits.info, draws, sequences, totals=scores_totals(model))
    with forked(seed, "prior replicates"):
        for some, part in chunks(
            sequences.lengths, draws, width=model.frame_size, progress=progress
        ):
            lengths = sequences.lengths[some]
            mask = np.arange(lengths.max()) < lengths[:, None]
            num = (part.stop - part.start) * len(some)
            shape = (part.stop - part.start, *mask.shape, -1)
            given = sequences.batch(some).to(like.device).conditions
            given = None if given is None else given.expand(shape).flatten(0, 1)
            x = generate(model, num, mask.shape[1], like, conditions=given)["x"]
            summary.add(x.reshape(shape).cpu().numpy(), mask, part, some)
    return summary


def p_values(data: Summary, replicates: Summary) -> dict[str, float]:
    r"""Bayesian p-value of every statistic's mean over sequences.

    .. math:: P(T_{\text{rep}} > T_{\text{obs}}) + \tfrac12 P(T_{\text{rep}} = T_{\text{obs}})

    Near 0 the statistic is too low in replicates, near 1 too high. ``feature means`` is the share
    of features whose own p-value lies outside [0.025, 0.975]; about 0.05 if the model is right.
    ``transitions`` is the same share for the pairs of successive symbols in the data.

    Args:
        data: from `observed`, with as many draws or one.
        replicates: from `posterior_replicates` or `prior_replicates`.
    """
    of_data, of_replicates = data.over_sequences(), replicates.over_sequences()
    values = {
        name: float(p_value(of_data[name], replicated))
        for name, replicated in of_replicates.items()
    }
    known = ~np.isnan(data.feature_means).all(0)
    values[FEATURE_MEANS] = share_off(p_value(data.feature_means, replicates.feature_means)[known])
    if data.pairs.any():
        values[TRANSITIONS] = share_off(p_value(data.pairs, replicates.pairs)[data.pairs[0] > 0])
    return values


def misfits(p: Mapping[str, float], level: float = 0.05) -> dict[str, str]:
    """Statistics on which replicates and data disagree, and in which direction.

    A few feature means always disagree; they are listed if there are several times more than
    expected.

    >>> misfits({"activity": 0.4, "persistence": 0.0, "feature means": 0.3})
    {'persistence': 'too low', 'feature means': 'off'}
    """
    found = {
        name: "too low" if value < 0.5 else "too high"
        for name, value in p.items()
        if name not in SHARES and abs(value - 0.5) > (1 - level) / 2
    }
    return found | {name: "off" for name in SHARES if p.get(name, 0) > MANY * level}
