"""Which latents explain the data? Draws from the guide in the container that arviz reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from arviz_base import from_dict
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.distributions import BernoulliVector
from pyrodgm.errors import UsageError
from pyrodgm.files import replacing
from pyrodgm.guides import Guide
from pyrodgm.models import Model
from pyrodgm.seeds import forked
from pyrodgm.sequences import Path as SequenceSite
from pyrodgm.traces import trace_pair

FRAMES_AT_ONCE = 20_000  # draws x padded frames scored together: bounds memory, not results
MAX_BYTES = 2 * 2**30

Groups = dict[str, dict[str, np.ndarray]]


def to_datatree(
    model: Model,
    guide: Guide,
    splits: Splits,
    *,
    split: str = "test",
    draws: int = 100,
    seed: int = 0,
) -> xr.DataTree:
    """Draws from the guide for every sequence of a split, and what the model makes of them.

    ==================== =========================================================================
    posterior            the latents, z ~ q(z | x)
    sample_stats         log_p = log p(x, z), log_q = log q(z | x) and log_w = log_p - log_q per
                         draw and sequence, in nats; lp is log_p over all sequences together
    log_likelihood       log p(x_t | z, x_<t) of every frame, in nats. The latents are local, so
                         leaving one frame out by these (loo) is no measure of prediction
    posterior_predictive one replicate per draw, frame by frame x_t ~ p(x_t | z, x_<t) with z from
                         the guide and the past x_<t as observed: it has seen the frame that it
                         replicates, so it checks the fit and not the forecasts
    observed_data        the sequences
    constant_data        their lengths, and the mask, True where a frame is data
    ==================== =========================================================================

    Args:
        model: the model p.
        guide: the guide q.
        splits: the data.
        split: whose sequences.
        draws: per sequence, S. They are independent: there is one chain, and R-hat means nothing.
        seed: of the draws; the global generator is left alone.

    Returns:
        Dimensions chain, draw, sequence, time and one named after each site, such as ``z_dim``.
        Values that are zero or one take one byte. Padded frames are NaN in floating-point
        variables and zero in others.

    Raises:
        UsageError: no draws, or so many that the arrays would not fit into 2 GiB.
    """
    sequences = splits[split]
    _check_size(model, sequences, draws)
    device = next(model.parameters()).device
    collected = _Collected(draws, sequences)
    with torch.no_grad(), forked(seed, "posterior"):
        for rows in evaluation_batches(sequences.lengths, FRAMES_AT_ONCE):
            batch = sequences.batch(rows).to(device)
            for part in draws_at_once(draws, batch.mask.numel()):
                collected.rows, collected.part, collected.mask = rows, part, batch.mask.cpu()
                _collect(collected, model, guide, batch)
    groups = collected.groups
    groups["sample_stats"]["lp"] = groups["sample_stats"]["log_p"].sum(-1)
    everything = sequences.batch(np.arange(len(sequences)))
    observed = collected.padded(everything.x, everything.mask, _data_type(splits.info))
    groups["observed_data"] = dict.fromkeys(model.observed, observed)
    groups["constant_data"] = {"length": sequences.lengths, "mask": everything.mask.numpy()}
    dims, coords = _names(model, splits.info, sequences, draws)
    about = {"split": split, "seed": seed, "data": splits.info.name}
    return from_dict(groups, dims=dims, coords=coords, attrs={"/": {**_made_by(model, guide), **about}})


def write_netcdf(tree: xr.DataTree, path: Path) -> None:
    """Write a tree to a compressed netCDF file, all of it or nothing; `arviz.from_netcdf` opens it.

    Args:
        tree: from `to_datatree`.
        path: the file; its folder must exist.

    Raises:
        UsageError: the file cannot be written.
    """
    encoding = {
        group.path: {name: {"zlib": True, "complevel": 4} for name in group.data_vars}
        for group in tree.subtree
        if group.data_vars
    }
    with replacing(path) as unfinished:
        tree.to_netcdf(unfinished, engine="h5netcdf", encoding=encoding)


def bytes_per_draw(model: Model, sequences: Sequences) -> int:
    """Memory that one more draw of every sequence takes in a tree, for binary values."""
    frames = len(sequences) * int(sequences.lengths.max())
    return frames * (sum(_site_dims(model).values()) + 4)


def draws_at_once(draws: int, frames: int) -> Iterator[slice]:
    """Draws cut into parts that are scored together with so many padded frames each."""
    size = max(1, FRAMES_AT_ONCE // frames)
    for start in range(0, draws, size):
        yield slice(start, min(start + size, draws))


class _Collected:
    """Arrays over all draws and sequences, filled batch by batch.

    Args:
        draws: S.
        sequences: the N sequences.
    """

    rows: np.ndarray  # of the split, that the batch at hand holds
    part: slice  # of the draws
    mask: Tensor  # of the batch at hand

    def __init__(self, draws: int, sequences: Sequences) -> None:
        self.groups: Groups = {}
        self.shape = (1, draws, len(sequences))
        self.length = int(sequences.lengths.max())

    def put(self, group: str, name: str, value: Tensor, dtype: Any) -> None:
        """Keep values of the batch at hand, (K, B), (K, B, T) or (K, B, T, D)."""
        arrays = self.groups.setdefault(group, {})
        if value.dim() > 2:
            value = self.padded(value.cpu(), self.mask, dtype, numpy=False)
        if name not in arrays:
            after = (self.length, *value.shape[3:]) if value.dim() > 2 else ()
            arrays[name] = np.full(self.shape + after, _blank(dtype), dtype)
        if value.dim() > 2:
            arrays[name][0, self.part, self.rows, : value.shape[2]] = value.numpy()
        else:
            arrays[name][0, self.part, self.rows] = value.cpu().numpy()
