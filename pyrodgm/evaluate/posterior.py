"""Which latents explain the data? Draws from the guide in the container that arviz reads."""

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
from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.chunks import chunks
from pyrodgm.evaluate.compact import BLANK, Arrays, Groups, blanked, compact_type, is_blank
from pyrodgm.files import replacing
from pyrodgm.guides import Guide
from pyrodgm.models import Model
from pyrodgm.seeds import forked
from pyrodgm.traces import pair_terms

MAX_BYTES = 2 * 2**30


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
    posterior            the latents, z ~ q(z | x); there is no such group where a model has none
    sample_stats         log_p = log p(x, z), log_q = log q(z | x) and log_w = log_p - log_q per
                         draw and sequence, in nats; lp is log_p over all sequences together
    log_likelihood       log p(x_t | z, x_<t) of every frame, in nats. The latents are local, so
                         leaving one frame out by these (loo) is no measure of prediction. Without
                         latents it is log p(x_t | x_<t), exact and the same in every draw
    posterior_predictive one replicate per draw, frame by frame x_t ~ p(x_t | z, x_<t) with z from
                         the guide and the past x_<t as observed: it has seen the frame that it
                         replicates, so it checks the fit and not the forecasts. Without latents
                         x_t ~ p(x_t | x_<t), the distribution of the next frame
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
        Padded frames are NaN. Where there are none, whole numbers are integers, of as many bytes
        as the largest of them needs.

    Raises:
        UsageError: no draws, or so many that the arrays would not fit into 2 GiB.
    """
    tree = compact_tree(model, guide, splits, split=split, draws=draws, seed=seed, bytes_each=4)
    for group in tree.subtree:
        for name, values in group.data_vars.items():
            if is_blank(values):
                real = values.astype(np.promote_types(values.dtype, np.float32))
                group[str(name)] = real.where(values != BLANK)
    return tree


def compact_tree(
    model: Model,
    guide: Guide,
    splits: Splits,
    *,
    split: str,
    draws: int,
    seed: int,
    bytes_each: int = 1,
) -> xr.DataTree:
    """The same with whole numbers as integers always, in which padded frames are -1.

    `write_netcdf` marks these as blank, so that they are NaN to whoever reads the file.
    """
    sequences = splits[split]
    _check_size(model, sequences, draws, bytes_each)
    device = next(model.parameters()).device
    arrays = Arrays(draws, sequences)
    with torch.no_grad(), forked(seed, "posterior"):
        for rows, part in chunks(sequences.lengths, draws):
            batch = sequences.batch(rows).to(device)
            for place, value in _collect(model, guide, batch, part.stop - part.start):
                is_data = place[0] == "posterior_predictive"
                arrays.put(place, sequences.uncentred(value) if is_data else value, part, rows)
    stats = arrays.groups["sample_stats"]
    stats["lp"] = stats["log_p"].sum(-1)
    about = {"split": split, "seed": seed, "data": splits.info.name, "model": _name(model)}
    return from_dict(
        {**arrays.groups, **_fixed(model, splits, sequences)},
        dims=_dims(model),
        coords=_coords(model, splits.info, sequences),
        attrs={"/": {**about, "guide": _name(guide), "pyrodgm_version": version("pyrodgm")}},
    )


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
    for group in tree.subtree:
        for name, values in group.data_vars.items():
            if is_blank(values):
                encoding[group.path][name]["_FillValue"] = BLANK
    with replacing(path) as unfinished:
        tree.to_netcdf(unfinished, engine="h5netcdf", encoding=encoding)


def bytes_per_draw(model: Model, sequences: Sequences) -> int:
    """Memory that one more draw of every sequence takes in a tree, for binary values."""
    frames = len(sequences) * int(sequences.lengths.max())
    return frames * (sum(_site_dims(model).values()) + 4)


def _collect(
    model: Model, guide: Guide, batch: Batch, particles: int
) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """What goes into a tree, by group and name, for K draws of the sequences of a batch."""
    p, q = pair_terms(model, guide, batch, particles)
    shape = (particles, batch.size, batch.length)
    zero = torch.zeros(shape, dtype=torch.float64, device=batch.x.device)
    log_p = sum((term.log_prob.double() for term in p.values()), zero).sum(-1)
    log_q = sum((term.log_prob.double() for term in q.values()), zero).sum(-1)
    for name, value in {"log_p": log_p, "log_q": log_q, "log_w": log_p - log_q}.items():
        yield ("sample_stats", name), value
    for name, term in q.items():
        value = term.value.expand(*shape, -1)
        yield ("posterior", name), blanked(value, batch.mask, compact_type(term.law, value))
    for name in model.observed:
        law, log_prob = p[name].law, p[name].log_prob.expand(shape)
        replicate = law.expand(torch.Size(shape)).sample()
        yield ("log_likelihood", name), blanked(log_prob, batch.mask, torch.float32)
        yield (
            ("posterior_predictive", name),
            blanked(replicate, batch.mask, compact_type(law, replicate)),
        )


def _fixed(model: Model, splits: Splits, sequences: Sequences) -> Groups:
    """What does not depend on the draws."""
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


def _dims(model: Model) -> dict[str, list[str]]:
    frames = {name: ["sequence", "time", f"{name}_dim"] for name in _site_dims(model)}
    numbers = {name: ["sequence"] for name in ("log_p", "log_q", "log_w", "length")}
    return {**frames, **numbers, "lp": [], "mask": ["sequence", "time"]}


def _coords(model: Model, info: DataInfo, sequences: Sequences) -> dict[str, np.ndarray]:
    """Rows of the split, frames from zero, and features: MIDI numbers where they are pitches."""
    coords = {f"{name}_dim": np.arange(dim) for name, dim in _site_dims(model).items()}
    for name in model.observed:
        coords[f"{name}_dim"] += info.lowest_pitch or 0
    time = np.arange(int(sequences.lengths.max()))
    return {**coords, "sequence": np.arange(len(sequences)), "time": time}


def _site_dims(model: Model) -> dict[str, int]:
    return {**model.latents, **model.observed}


def _check_size(model: Model, sequences: Sequences, draws: int, bytes_each: int) -> None:
    if draws < 1:
        raise UsageError(f"draws is {draws}; give at least 1")
    padded = sequences.lengths.min() < sequences.lengths.max()
    each = bytes_per_draw(model, sequences) * (bytes_each if padded else 1)
    if draws * each > MAX_BYTES:
        raise UsageError(
            f"{draws} draws of {len(sequences)} sequences would take {draws * each / 2**30:.1f} "
            f"GiB; give at most {MAX_BYTES // each} draws, or a split with fewer sequences"
        )


def _name(part: Model | Guide) -> str:
    return type(part).__name__
