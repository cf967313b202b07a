"""What the latents have learned: dictionaries, activity and topics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pyrodgm.data.base import DataInfo
from pyrodgm.evaluate.latents.activity import expected_latents
from pyrodgm.evaluate.latents.dictionary import Dictionary, read_dictionary
from pyrodgm.evaluate.words.topics import seen_counts
from pyrodgm.figures.topics import topic_trajectories
from pyrodgm.figures.units import FRAMES_SHOWN, draw_dictionary, latent_activity
from pyrodgm.report.blocks import Picture, Section, png_uri
from pyrodgm.runs.run import Run
from pyrodgm.tables import Column, Table

PATHS = 10  # behind an expectation
TOPICS = 10
WORDS = 10


def sections(run: Run, split: str, seed: int) -> list[Section]:
    """All about the latents of a model; nothing where it has none."""
    if run.model.traits.latents != "binary":
        return []
    info = run.splits.info
    expected = expected_latents(run.model, run.guide, run.splits[split], draws=PATHS, seed=seed)
    dictionary = read_dictionary(run.model, len(info.frequencies) or info.dim)
    found = [activity(run, split, expected)]
    if dictionary is None:
        return found
    frames = expected.get(dictionary.site)
    if run.splits.info.words:
        return found if frames is None else [topics(run, split, seed), *found]
    if frames is not None:
        dictionary = replace(dictionary, activity=frames.mean(0))
    return [units(run, dictionary), *found]


def units(run: Run, dictionary: Dictionary) -> Section:
    """The dictionary as a picture."""
    figure = png_uri(draw_dictionary(dictionary, run.splits.info))
    caption = f"What each unit of {dictionary.site} adds to a frame: red more, blue less. "
    if dictionary.activity is None:
        caption += "Units with the largest weights first."
    else:
        caption += (
            "Units with most effect first, which is the size of the weights times the standard "
            "deviation of the unit; with each, the share of the frames in which it is on."
        )
    return Section("What the latents stand for", [Picture(figure, caption)])


def activity(run: Run, split: str, expected: dict[str, np.ndarray]) -> Section:
    """When the units of every layer are on: in the first sequence, or in rows far apart."""
    sequences, blocks = run.splits[split], []
    shown, what = np.arange(len(seen_counts(sequences))), f"{split} sequence 0"
    if sequences.lengths.max() == 1:
        shown = np.linspace(0, len(sequences) - 1, min(FRAMES_SHOWN, len(sequences))).astype(int)
        what = f"{len(shown)} rows of the {split} split, in its order"
    for name, frames in expected.items():
        share = frames.mean(0)
        idle = int(((share < 0.01) | (share > 0.99)).sum())
        caption = (
            f"Layer {name}: left, what the guide expects of each unit in {what}; right, on average "
            f"over the split. {idle} of {len(share)} units are on in less than 1 % or more than "
            "99 % of the frames."
        )
        blocks.append(Picture(png_uri(latent_activity(frames[shown], share)), caption))
    return Section("When the latents are on", blocks)


def topics(run: Run, split: str, seed: int) -> Section:
    """The topics that come and go with coherent words, by these and over time."""
    found = run.topics(split, num=TOPICS, num_words=WORDS, seed=seed)
    rows = [
        [
            topic.unit,
            topic.coherence,
            float(topic.probability.mean()),
            *map(", ".join, (topic.words, topic.own_words, topic.heavy_words)),
        ]
        for topic in found
    ]
    note = (
        f"The {len(found)} units that come and go with the most coherent words, none that mostly "
        "repeats one above it. Coherence is the mean correlation of pairs of the words that come "
        "with a unit, about their means near by; words chosen blindly have about 0. Words that "
        "come with it are surely more frequent where it is on than in frames near by where it is "
        "off; its own are those that it adds and other units do not. Words of largest weight, as "
        "published, are often rare."
    )
    labels = times(run.splits.info, len(found[0].probability))
    figure = topic_trajectories(labels, found)
    caption = "How probable each topic is, given the words: q(z = 1 | x)."
    columns = [
        Column("unit"),
        Column("coherence", digits=2),
        Column("on", "%", 0),
        Column("words that come with it"),
        Column("words of its own"),
        Column("words of largest weight"),
    ]
    table = Table(columns, rows, numeric=False, notes=[note])
    return Section("Topics", [table, Picture(png_uri(figure), caption)])


def times(info: DataInfo, length: int) -> list[float]:
    """When the frames of the first sequence are: their labels where those are numbers."""
    try:
        return [float(info.frame_labels[t]) for t in range(length)]
    except (ValueError, IndexError):
        return [float(t) for t in range(length)]
