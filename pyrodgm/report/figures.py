"""Sections of a report with pictures, by kind of data."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pyrodgm.data.base import DataInfo
from pyrodgm.data.symbols import indicators
from pyrodgm.display import counted
from pyrodgm.engine.particles import beginning
from pyrodgm.errors import MissingDataError
from pyrodgm.evaluate.latents.cloud import clouds
from pyrodgm.evaluate.latents.interpolation import can_interpolate, interpolations
from pyrodgm.evaluate.prediction.forecast import forecast
from pyrodgm.evaluate.prediction.one_step import expected_frames
from pyrodgm.evaluate.prediction.reconstruction import has_reconstructions, reconstruct
from pyrodgm.evaluate.samples.modes import WITHIN
from pyrodgm.figures.landscape import landscapes
from pyrodgm.figures.latents import latent_scatter
from pyrodgm.figures.points import scatter
from pyrodgm.figures.samples_file import as_numbers, save_samples
from pyrodgm.figures.sequences import Band, motion, pictures
from pyrodgm.figures.videos import grid, side_by_side
from pyrodgm.models import EnergyModel, FrameEnergyModel, Generator, Model, StepModel
from pyrodgm.report import sounds
from pyrodgm.report.blocks import (
    Block,
    Download,
    Picture,
    Section,
    Text,
    data_uri,
    gif_uri,
    png_uri,
)
from pyrodgm.runs.run import Run
from pyrodgm.runs.tables import prediction_table

SHOWN_FRAMES = 100  # of a sequence
PARTICLES = 20  # for an expectation
CONTINUATIONS = 100  # for quantiles
DRAWN = 3  # sequences drawn from the model
VIDEOS, ROWS = 9, 100  # the same for videos and for single pictures
PATHS, STEPS = 5, 9  # pairs of draws, and rows on the way between them
POINTS = 1000  # the same for rows of real numbers
EXAMPLE_PIXELS, SAMPLE_PIXELS = 600, 240  # the browser scales videos up


@dataclass(frozen=True)
class Example:
    """One sequence with its predictions.

    Args:
        name: split and row.
        observed: (T, D); expectations of categorical features are probabilities, (T, S).
        expected: expectation of every frame given those before it, (T, D).
        start: number of observed frames before the forecast.
        continued: the observed frames and one draw of the following ones, (T, D).
        mean: the observed frames and the mean forecast, (T, D).
        low, middle, high: quantiles of the forecast at 10, 50 and 90 %, each (T - start, D); None
            for categorical features.
    """

    name: str
    observed: np.ndarray
    expected: np.ndarray
    start: int
    continued: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray


def make_example(run: Run, split: str, seed: int) -> Example:
    """The first sequence of a split that has at least two frames; a forecast of its second half."""
    sequences = run.splits[split]
    row = int(np.flatnonzero(sequences.lengths > 1)[0])
    length = min(int(sequences.lengths[row]), SHOWN_FRAMES)
    one, start = sequences.select([row]), length // 2
    pair = run.model, run.guide
    batch = beginning(one.batch([0]), torch.tensor([length]))
    expected = expected_frames(*pair, batch, samples=PARTICLES, seed=seed)
    grey = run.splits.info.kind == "unit"
    ahead = forecast(
        *pair,
        one,
        horizon=length - start,
        start=start,
        samples=CONTINUATIONS,
        means=grey,
        seed=seed,
    )
    observed = one.uncentred(batch.x.where(batch.observed, torch.nan))[0].numpy()
    seen = known = observed[:start]
    if run.splits.info.kind == "categorical":
        known = indicators(seen, run.splits.info.symbols)
    return Example(
        f"{split} sequence {row}",
        observed,
        one.uncentred(expected)[0].cpu().numpy(),
        start,
        np.concatenate([seen, ahead.draw[0]]),
        np.concatenate([known, ahead.mean[0]]),
        *(ahead.quantiles[:, 0] if len(ahead.levels) else np.empty((3, 0, 0))),
    )


def prediction(run: Run, split: str, seed: int) -> Section:
    """The section on prediction: errors, and an example."""
    if run.splits[split].lengths.max() < 2 or not isinstance(
        run.model, StepModel | FrameEnergyModel
    ):
        return Section("Prediction", [])
    found = run.predict(split, samples=PARTICLES, seed=seed)
    blocks: list[Block] = [prediction_table(run.model, found, run.splits.info, split)]
    if run.splits.info.kind == "count":
        blocks.append(Text("Counts are not drawn; pyrodgm predict --horizon writes forecasts."))
    else:
        blocks += draw_example(make_example(run, split, seed), run.splits.info)
    return Section("Prediction", blocks)


def draw_example(example: Example, info: DataInfo) -> list[Block]:
    """Pictures of one sequence with its predictions, by kind of data."""
    forecast_words = f"forecast from frame {example.start + 1}"
    if info.audio:
        heard = {
            "observed": example.observed,
            "expected one\nframe before": example.expected,
            "one draw of\nthe forecast": example.continued,
        }
        words = (
            f"{example.name}: observed; the expectation of each frame given those before it; and "
            f"one draw of the {forecast_words}, at the dotted line."
        )
        return sounds.heard(heard, info.audio, words.capitalize(), mark=example.start)
    if info.kind == "real" and not info.image_shape:
        band = Band(
            example.start, example.low, example.middle, example.high,
            f"{forecast_words}, median and 80 % of {CONTINUATIONS} draws",
        )  # fmt: skip
        lines = {"observed": example.observed, "expected one frame before": example.expected}
        caption = f"{example.name}: the features that vary most."
        return [Picture(png_uri(motion(lines, band)), caption.capitalize())]
    rows = {
        "observed": example.observed,
        "expected one\nframe before": example.expected,
        "expected by the\nforecast": example.mean,
        "one draw of\nthe forecast": example.continued,
    }
    caption = (
        f"{example.name}: observed; the expectation of each frame given those before it; "
        f"and the {forecast_words}, given only the frames before it."
    ).capitalize()
    blocks: list[Block] = [Picture(png_uri(pictures(rows, info, mark=example.start)), caption)]
    if info.image_shape:
        videos = {
            "observed": example.observed,
            "one frame before": example.expected,
            "forecast": example.mean,
        }
        moving = side_by_side(videos, info, forecast_from=example.start, pixels=EXAMPLE_PIXELS)
        blocks.append(Picture(gif_uri(moving, info), "The same as video, with the mean forecast."))
    if info.lowest_pitch is not None:
        played = {"observed": example.observed, "continued": example.continued}
        blocks.append(Download(midi_files(played, info), "To listen to:"))
    return blocks


def samples(run: Run, split: str, seed: int) -> Section:
    """Sequences drawn from the model."""
    info = run.info
    length = min(round(info.mean_length), SHOWN_FRAMES)
    if info.num_conditions:  # those of the split's sequences
        try:
            length = min(length, int(run.splits[split].lengths.max()))
        except MissingDataError:
            return Section("Samples", [])
    still = info.image_shape is None and length == 1
    drawn = _can_draw(run.model) or bool(run.samplers)
    if not drawn or info.kind == "count":
        return Section("Samples", [])
    if still:
        return Section("Samples", _points(run, split, seed) if info.kind == "real" else [])
    num = DRAWN if info.image_shape is None else VIDEOS if length > 1 else ROWS
    labels = info.classes if len(info.classes) == info.num_conditions else ()
    x = as_numbers(run.sample(num, length, split=split, labels=labels, seed=seed)["x"])
    if info.audio:
        return Section("Samples", sounds.drawn(run, split, x, info.audio, _given(info)))
    return Section("Samples", draw_samples(x, info, _beside(run, split, length)))


def _can_draw(model: Model) -> bool:
    """Whether observations can be drawn from a model."""
    if isinstance(model, EnergyModel):
        return model.traits.chains
    return isinstance(model, StepModel | Generator)


def energy_landscape(run: Run, split: str, seed: int) -> Section:
    """The density of a field in the plane, with draws over it, beside the true one."""
    title, found = "Energy landscape", run.landscape()
    if found is None:
        return Section(title, [])
    densities = {"learned": found.learned, "true": found.true}
    known = {name: nats for name, nats in densities.items() if nats is not None}
    x = as_numbers(run.sample(POINTS, 1, split=split, seed=seed)["x"])[:, 0]
    picture = png_uri(landscapes(found.across, found.up, known, x))
    caption = "Log-density of the field, and draws over it. " + found.text()
    return Section(title, [Picture(picture, caption.strip())])


def reconstructions(run: Run, split: str, seed: int) -> Section:
    """Rows that are pictures beside their reconstructions from the guide's latents."""
    info, model, guide = run.splits.info, run.model, run.guide
    if info.image_shape is None or not has_reconstructions(model, guide, info):
        return Section("Reconstructions", [])
    made = reconstruct(model, guide, run.splits[split], seed=seed)
    rows = {"observed": made.observed, "reconstructed": made.expected}
    caption = (
        f"Rows of the {split} split at equal distances, and the mean of each given latents that "
        "the guide draws for it."
    )
    return Section("Reconstructions", [Picture(png_uri(pictures(rows, info)), caption)])


def _points(run: Run, split: str, seed: int) -> list[Block]:
    """Rows of real numbers drawn from the model, and those of a split if the data is available."""
    sets = {"drawn": as_numbers(run.sample(POINTS, 1, split=split, seed=seed)["x"])[:, 0]}
    with suppress(MissingDataError):
        sequences = run.splits[split]
        rows = sequences.batch(np.arange(min(POINTS, len(sequences))))
        sets[split] = sequences.uncentred(rows.x.where(rows.observed, torch.nan))[:, 0].numpy()
    caption = f"{counted(POINTS, 'row')} drawn from the model, and rows of the {split} split."
    modes, radius = None, 0.0
    if run.info.modes:
        modes, radius = np.array(run.info.modes), WITHIN * float(run.info.mode_std or 0)
        caption += f" Circles: {WITHIN:g} standard deviations around the modes."
    return [Picture(png_uri(scatter(sets, modes=modes, radius=radius)), caption, narrow=True)]


def between(run: Run, split: str, seed: int) -> Section:
    """Rows on the way from one draw of the noise, or of the latents, to another."""
    info, title = run.splits.info, "Between draws"
    if not can_interpolate(run.model, info) or not (info.image_shape or info.kind == "real"):
        return Section(title, [])
    what = _path_ends(run.model)
    found = interpolations(
        run.model, run.guide, info, run.splits[split], pairs=PATHS, steps=STEPS, seed=seed
    )
    caption = f"On the way between {counted(2 * PATHS, 'draw')} of the {what}, in pairs."
    if info.image_shape:
        rows = {f"pair {number}": row for number, row in enumerate(found, start=1)}
        return Section(title, [Picture(png_uri(pictures(rows, info)), caption)])
    rows = {f"{split} rows": run.splits[split].x.double().numpy()}
    return Section(title, [Picture(png_uri(scatter(rows, paths=found)), caption, narrow=True)])


def _path_ends(model: Model) -> str:
    """What a path between draws goes through: latents, noise, or both."""
    if not isinstance(model, Generator):
        return "latents"
    latent_dim = sum(site.dim for site in model.latents.values())
    named = {"latents": latent_dim, "noise": model.noise_dim - latent_dim}
    return " and ".join(name for name, dim in named.items() if dim)


def latents(run: Run, split: str, seed: int) -> Section:
    """Latents of rows as points, by class."""
    title, info = "Latents of rows", run.splits.info
    continuous = any(site.kind == "continuous" for site in run.model.latents.values())
    if not continuous or info.max_length > 1 or not has_reconstructions(run.model, run.guide, info):
        return Section(title, [])
    found = clouds(run.model, run.guide, info, run.splits[split], seed=seed)
    coloured = any(cloud.labels is not None for cloud in found.values())
    caption = f"One draw from the guide for rows of the {split} split"
    caption += ", coloured by class." if coloured else "."
    return Section(
        title, [Picture(png_uri(latent_scatter(found)), caption, narrow=len(found) == 1)]
    )


def _beside(run: Run, split: str, length: int) -> dict[str, np.ndarray]:
    """The first frames of an observed sequence; empty if the data is missing."""
    try:
        sequences = run.splits[split]
    except MissingDataError:
        return {}
    first = sequences.batch([0])
    observed = sequences.uncentred(first.x.where(first.observed, torch.nan))
    return {f"{split} sequence 0": observed[0, :length].numpy()}


def draw_samples(x: np.ndarray, info: DataInfo, beside: Mapping[str, np.ndarray]) -> list[Block]:
    """Pictures of sequences (N, T, D), by kind of data, beside an observed one for real numbers."""
    drawn = f"{counted(len(x), 'sequence')} of {counted(x.shape[1], 'frame')}"
    caption = f"{drawn if x.shape[1] > 1 else counted(len(x), 'row')} drawn from the model"
    caption += _given(info)
    rows = {f"sample {number}": row for number, row in enumerate(x, start=1)}
    if info.image_shape:
        frames = grid(x, info, pixels=SAMPLE_PIXELS)
        return [Picture(gif_uri(frames, info), caption, narrow=True)]
    if info.kind == "real":
        caption += "".join(f" Black: {name}." for name in beside) + " Lines may leave the axes."
        return [Picture(png_uri(motion({**beside, **rows})), caption)]
    blocks: list[Block] = [Picture(png_uri(pictures(rows, info)), caption)]
    if info.lowest_pitch is not None:
        blocks.append(Download(midi_files(rows, info), "To listen to:"))
    return blocks


def _given(info: DataInfo) -> str:
    """The conditions of samples, in words."""
    if info.num_conditions and len(info.classes) == info.num_conditions:
        return f", given each class in turn: {', '.join(info.classes)}."
    return ", given conditions of the split." if info.num_conditions else "."


def midi_files(rows: Mapping[str, np.ndarray], info: DataInfo) -> list[tuple[str, str]]:
    """Piano rolls as MIDI files, by name."""
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for name, row in rows.items():
            path = Path(folder, f"{name.replace(' ', '-')}.mid")
            save_samples(torch.from_numpy(row)[None], info, path)
            files.append((path.name, data_uri(path.read_bytes(), "audio/midi")))
    return files
