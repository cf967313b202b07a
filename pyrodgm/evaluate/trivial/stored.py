"""Trivial predictors of a run: fitted on its training data once, and kept in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

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
MOST_KEPT = 2**23  # numbers of an autoregression; larger ones are fitted when they are needed
AFFORDABLE = 2e10  # multiplications that an autoregression may cost a fit: a few seconds


def keep_trivial(folder: RunFolder, splits: Splits, model: Model) -> None:
    """Fit the predictors of a run and write down what they know of its training data.

    Args:
        folder: of the run.
        splits: the data that it is fitted on.
        model: whose order the autoregression has; it is left out where it takes long, and where
            the model has no time.
    """
    found = learned(splits.train, splits.info, totals=scores_totals(model))
    known = {f"likelihood.{name}": x for name, x in found.items()}
    order = autoregressive_order(model)
    if isinstance(model, StepModel) and autoregression_cost(splits, order) <= AFFORDABLE:
        known |= _linear(autoregression(splits, order), order)
    _write(folder, known)


def autoregression_cost(splits: Splits, order: int) -> float:
    """Multiplications that fitting a linear autoregression takes, about."""
    size, frames = order * splits.info.dim, splits.train.num_frames + splits.valid.num_frames
    system = min(frames, size)
    return float(frames) * size * system + 7.0 * system**3


def stored_likelihood(folder: RunFolder) -> Arrays:
    """What `pyrodgm.evaluate.trivial.likelihoods.learned` gave; nothing where it was not kept."""
    prefix = "likelihood."
    return {k.removeprefix(prefix): x for k, x in _read(folder).items() if k.startswith(prefix)}


def keep_likelihood(folder: RunFolder, splits: Splits, *, totals: bool = False) -> Arrays:
    """Learn it now, and keep it where the folder can be written."""
    known = learned(splits.train, splits.info, totals=totals)
    _add(folder, {f"likelihood.{name}": x for name, x in known.items()})
    return known


def stored_autoregression(folder: RunFolder, order: int) -> Linear | None:
    """The linear autoregression of a run, if it was kept."""
    prefix = f"ar{order}."
    found = {k.removeprefix(prefix): x for k, x in _read(folder).items() if k.startswith(prefix)}
    if not found:
        return None
    return from_state(order, {name: torch.from_numpy(x) for name, x in found.items()})


def keep_autoregression(folder: RunFolder, splits: Splits, order: int) -> Linear | None:
    """Fit it now, and keep it where the folder can be written."""
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
    except (OSError, SafetensorError):  # not kept, or damaged: it is fitted anew
        return {}


def _add(folder: RunFolder, known: Mapping[str, np.ndarray]) -> None:
    with suppress(UsageError):  # a folder that cannot be written is asked all the same
        _write(folder, {**_read(folder), **known})


def _write(folder: RunFolder, known: Mapping[str, np.ndarray]) -> None:
    with replacing(folder.trivial) as unfinished:
        save_file({name: np.ascontiguousarray(x) for name, x in known.items()}, unfinished)
