"""Draws from the guide, and their log-likelihoods and replicates, in arviz's container."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from arviz_base import from_dict
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.data.evaluation import Data
from pyrodgm.engine.draws import pair_factors
from pyrodgm.evaluate.likelihood.weights import refuse_without_weights
from pyrodgm.evaluate.passes import Progress, chunks, drawing, silent
from pyrodgm.evaluate.posterior.compact import (
    BLANK,
    Arrays,
    Groups,
    blanked,
    compact_type,
    is_blank,
)
from pyrodgm.evaluate.posterior.kept import Kept, refuse_large
from pyrodgm.guides import Guide
from pyrodgm.models import Model
from pyrodgm.storage.files import replacing


def to_datatree(
    model: Model,
    guide: Guide,
    splits: Data,
    *,
    split: str = "test",
    draws: int = 100,
    seed: int = 0,
    flat: bool = False,
) -> xr.DataTree:
    """Draws from the guide for every sequence of a split, with log-likelihoods and replicates.

    ==================== =========================================================================
    posterior            the latents, z ~ q(z | x); there is no such group for models without them
    sample_stats         log_p = log p(x, z), log_q = log q(z | x) and log_w = log_p - log_q per
                         draw and sequence, in nats; lp is log_p over all sequences together. With
                         auxiliary sites a of a guide, log p(x, z) + log r(a | x, z) and
                         log q(a, z | x)
    log_likelihood       log p(x_t | z, x_<t) of every frame, in nats. The latents are local, so
                         leave-one-out values from it (loo) do not measure prediction. Without
                         latents it is log p(x_t | x_<t), exact and the same in every draw
    posterior_predictive one replicate per draw, frame by frame x_t ~ p(x_t | z, x_<t) with z from
                         the guide and the observed past x_<t: z depends on the replicated frame, so
                         this checks the fit and not forecasts. Without latents
                         x_t ~ p(x_t | x_<t), the distribution of the next frame
    observed_data        the sequences
    constant_data        their lengths, and the mask, True where a frame is data
    ==================== =========================================================================

    Args:
        model: the model p.
        guide: the guide q.
        splits: the data.
        split: name of the split.
        draws: per sequence, S. They are independent: there is one chain, and R-hat has no meaning.
        seed: of the draws; the global generator is left alone.
        flat: store the frames of all sequences end to end along one dimension ``frame``, with
            coordinates ``sequence`` and ``time``, instead of these two dimensions. It needs no
            padding, which saves memory if a few sequences are much longer than the others.

    Returns:
        Dimensions chain, draw, sequence, time and one named after each site, such as ``z_dim``.
        Padded frames are NaN. Without padding, whole numbers are integers of the smallest type
        that holds them.

    Raises:
        UsageError: no draws, or arrays of more than 2 GiB; or the model or the guide has no
            density.
    """
    refuse_without_weights(model, guide)
    rows = np.arange(len(splits[split]))
    refuse_large(model, splits, split, Kept(rows, draws, flat))
    tree = compact_tree(
        model, guide, splits, split=split, rows=rows, draws=draws, seed=seed, flat=flat
    )
    for group in tree.subtree:
        for name, values in group.data_vars.items():
            if is_blank(values):
                real = values.astype(np.promote_types(values.dtype, np.float32))
                group[str(name)] = real.where(values != BLANK)
    return tree


def compact_tree(
    model: Model,
    guide: Guide,
    splits: Data,
    *,
    split: str,
    rows: np.ndarray | None = None,
    draws: int,
    seed: int,
    flat: bool = False,
    progress: Progress = silent,
) -> xr.DataTree:
    """The same for some sequences, with whole numbers always as integers; padded frames are -1.

    `write_netcdf` marks -1 as missing, so that readers of the file get NaN.
    """
    rows = np.arange(len(splits[split])) if rows is None else rows
    sequences = splits[split].select(rows)
    arrays = Arrays(draws, sequences, flat=flat)
    with drawing(model, seed, "posterior") as device:
        for some, part in chunks(
            sequences.lengths, draws, width=model.frame_size, progress=progress
        ):
            batch = sequences.batch(some).to(device)
            for place, value in _collect(model, guide, batch, part.stop - part.start):
                is_data = place[0] == "posterior_predictive"
                arrays.put(place, sequences.uncentred(value) if is_data else value, part, some)
    stats = arrays.groups["sample_stats"]
    stats["lp"] = stats["log_p"].sum(-1)
    about = {"split": split, "seed": seed, "data": splits.info.name, "model": _name(model)}
    tree = from_dict(
        {
            **arrays.groups,
            **(_flat(model, sequences) if flat else _padded(model, splits, sequences)),
        },
        dims=_dims(model, flat=flat),
        coords=_coords(model, splits.info, sequences, rows, flat=flat),
        attrs={"/": {**about, "guide": _name(guide), "pyrodgm_version": version("pyrodgm")}},
    )
    return _with_places(tree, sequences, rows) if flat else tree


def write_netcdf(tree: xr.DataTree, path: Path) -> None:
    """Write a tree to a compressed netCDF file, atomically; `arviz.from_netcdf` opens it.

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
    for group in tree.subtree:
        for name, values in group.data_vars.items():
            if is_blank(values):
                encoding[group.path][name]["_FillValue"] = BLANK
    with replacing(path) as unfinished:
        tree.to_netcdf(unfinished, engine="h5netcdf", encoding=encoding)


def _collect(
    model: Model, guide: Guide, batch: Batch, particles: int
) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """Arrays of a tree, by group and name, for K draws of the sequences of a batch."""
    p, q = pair_factors(model, guide, batch, particles)
    shape = (particles, batch.size, batch.length)
    zero = torch.zeros(shape, dtype=torch.float64, device=batch.x.device)
    log_p = sum((term.log_prob.double() for term in p.values()), zero).sum(-1)
    log_q = sum((term.log_prob.double() for term in q.values()), zero).sum(-1)
    for name, value in {"log_p": log_p, "log_q": log_q, "log_w": log_p - log_q}.items():
        yield ("sample_stats", name), value
    for name in model.latents:  # the auxiliary sites of a guide are not the model's
        term = q[name]
        value = term.value.expand(*shape, -1)
        yield (
            ("posterior", name),
            blanked(value, batch.mask, compact_type(term.distribution, value)),
        )
    for name in model.observed:
        distribution, log_prob = p[name].distribution, p[name].log_prob.expand(shape)
        replicate = distribution.expand(torch.Size(shape)).sample()
        yield ("log_likelihood", name), blanked(log_prob, batch.mask, torch.float32)
        yield (
            ("posterior_predictive", name),
            blanked(replicate, batch.mask, compact_type(distribution, replicate)),
        )


def _flat(model: Model, sequences: Sequences) -> Groups:
    """Arrays that do not depend on the draws, end to end."""
    return {
        "observed_data": dict.fromkeys(model.observed, sequences.x.numpy()),
        "constant_data": {"length": sequences.lengths},
    }


def _with_places(tree: xr.DataTree, sequences: Sequences, rows: np.ndarray) -> xr.DataTree:
    """The tree with the sequence and the time of every frame as coordinates."""
    place = np.repeat(np.arange(len(rows)), sequences.lengths)
    time = np.arange(len(place)) - sequences.starts[place]
    for group in tree.leaves:
        if "frame" in group.dims:
            places = {"sequence": ("frame", rows[place]), "time": ("frame", time)}
            group.dataset = group.to_dataset().assign_coords(places)
    return tree


def _padded(model: Model, splits: Data, sequences: Sequences) -> Groups:
    """Arrays that do not depend on the draws."""
    batch = sequences.batch(np.arange(len(sequences)))
    small = splits.info.kind == "binary" and batch.seen is None
    x = sequences.uncentred(batch.x)
    x = blanked(x[None], batch.mask, torch.int8 if small else x.dtype)[0].numpy()
    if batch.seen is not None:
        x[~batch.seen.numpy()] = math.nan
    return {
        "observed_data": dict.fromkeys(model.observed, x),
        "constant_data": {"length": sequences.lengths, "mask": batch.mask.numpy()},
    }


def _dims(model: Model, *, flat: bool) -> dict[str, list[str]]:
    by_frame = ["frame"] if flat else ["sequence", "time"]
    frames = {name: [*by_frame, f"{name}_dim"] for name in _site_dims(model)}
    numbers = {name: ["sequence"] for name in ("log_p", "log_q", "log_w", "length")}
    return {**frames, **numbers, "lp": [], "mask": ["sequence", "time"]}


def _coords(
    model: Model, info: DataInfo, sequences: Sequences, rows: np.ndarray, *, flat: bool
) -> dict[str, np.ndarray]:
    """Rows of the split, frames from zero, and features, as MIDI numbers if they are pitches."""
    coords = {f"{name}_dim": np.arange(dim) for name, dim in _site_dims(model).items()}
    for name in model.observed:
        coords[f"{name}_dim"] += info.lowest_pitch or 0
    coords["sequence"] = rows
    if flat:
        return {**coords, "frame": np.arange(sequences.num_frames)}
    return {**coords, "time": np.arange(int(sequences.lengths.max()))}


def _site_dims(model: Model) -> dict[str, int]:
    return model.dims


def _name(part: Model | Guide) -> str:
    return type(part).__name__
