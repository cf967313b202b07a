"""Trivial predictors of a run: fitted once on its training data, and stored in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from pyrodgm.data.base import Splits
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.prediction.one_step import autoregressive_order
from pyrodgm.evaluate.trivial.counts import scores_totals
from pyrodgm.evaluate.trivial.likelihoods import learned
from pyrodgm.evaluate.trivial.predictors import Linear, autoregression, from_state
from pyrodgm.models import Model, StepModel
from pyrodgm.storage.files import replacing
from pyrodgm.storage.folder import RunFolder

Arrays = dict[str, np.ndarray]
MOST_KEPT = 2**23  # size limit of a stored autoregression; larger ones are fitted when needed
AFFORDABLE = 2e10  # limit of multiplications for an autoregression during a fit: a few seconds


def keep_trivial(folder: RunFolder, splits: Splits, model: Model) -> None:
    """Fit the trivial predictors of a run and store their parameters.

    Args:
        folder: of the run.
        splits: the data that it is fitted on.
        model: its order is that of the autoregression, which is omitted if it takes long or if the
            model has no time.
    """
    found = learned(splits.train, splits.info, totals=scores_totals(model))
    known = {f"likelihood.{name}": x for name, x in found.items()}
    order = autoregressive_order(model)
    if isinstance(model, StepModel) and autoregression_cost(splits, order) <= AFFORDABLE:
        known |= _linear(autoregression(splits, order), order)
    _write(folder, known)


def autoregression_cost(splits: Splits, order: int) -> float:
    """Approximate number of multiplications for fitting a linear autoregression."""
    size, frames = order * splits.info.dim, splits.train.num_frames + splits.valid.num_frames
    system = min(frames, size)
    return float(frames) * size * system + 7.0 * system**3


def stored_likelihood(folder: RunFolder) -> Arrays:
    """Stored result of `pyrodgm.evaluate.trivial.likelihoods.learned`; empty if there is none."""
    prefix = "likelihood."
    return {k.removeprefix(prefix): x for k, x in _read(folder).items() if k.startswith(prefix)}


def keep_likelihood(folder: RunFolder, splits: Splits, *, totals: bool = False) -> Arrays:
    """Compute it now, and store it if the folder is writable."""
    known = learned(splits.train, splits.info, totals=totals)
    _add(folder, {f"likelihood.{name}": x for name, x in known.items()})
    return known


def stored_autoregression(folder: RunFolder, order: int) -> Linear | None:
    """The linear autoregression of a run, if it was stored."""
    prefix = f"ar{order}."
    found = {k.removeprefix(prefix): x for k, x in _read(folder).items() if k.startswith(prefix)}
    if not found:
        return None
    return from_state(order, {name: torch.from_numpy(x) for name, x in found.items()})


def keep_autoregression(folder: RunFolder, splits: Splits, order: int) -> Linear | None:
    """Fit it now, and store it if the folder is writable."""
    linear = autoregression(splits, order)
    _add(folder, _linear(linear, order))
    return linear


def _linear(linear: Linear | None, order: int) -> Arrays:
    state = {} if linear is None else linear.state()
    if sum(tensor.numel() for tensor in state.values()) > MOST_KEPT:
        return {}
    return {f"ar{order}.{name}": tensor.contiguous().numpy() for name, tensor in state.items()}


def _read(folder: RunFolder) -> Arrays:
    try:
        return load_file(folder.trivial)
    except (OSError, SafetensorError):  # not stored, or damaged: it is fitted again
        return {}


def _add(folder: RunFolder, known: Mapping[str, np.ndarray]) -> None:
    with suppress(UsageError):  # a read-only folder can still be evaluated
        _write(folder, {**_read(folder), **known})


def _write(folder: RunFolder, known: Mapping[str, np.ndarray]) -> None:
    with replacing(folder.trivial) as unfinished:
        unfinished.write_bytes(save({k: np.ascontiguousarray(x) for k, x in known.items()}))
