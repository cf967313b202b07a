"""Sections of a report on latents: dictionaries, activity and topics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pyrodgm.data.base import DataInfo
from pyrodgm.engine.draws import draw
from pyrodgm.engine.sites import sizes
from pyrodgm.evaluate.latents.activity import expected_latents
from pyrodgm.evaluate.latents.classes import DEAD, ClassUse, class_use, class_words
from pyrodgm.evaluate.latents.dictionary import Dictionary, read_dictionary
from pyrodgm.evaluate.likelihood.quadrature import distinct, obstacle
from pyrodgm.evaluate.passes import drawing
from pyrodgm.evaluate.words.topics import seen_counts
from pyrodgm.figures.classes import class_shares
from pyrodgm.figures.posteriors import posterior_scatter
from pyrodgm.figures.topics import topic_trajectories
from pyrodgm.figures.units import FRAMES_SHOWN, draw_dictionary, latent_activity
from pyrodgm.report.blocks import Picture, Section, Text, png_uri
from pyrodgm.runs.run import Run
from pyrodgm.tables import Column, Table

PATHS = 10  # for an expectation
TOPICS = 10
WORDS = 10
VARIABLES = 20  # in a table
ROWS, DRAWS = 20, 1000  # of a picture of draws by row
LABEL = 8  # features in the label of a row
BY_ROW = (
    "Draws of the guide for every distinct row of the split, a colour for each; circles are at "
    "one, two and three standard deviations of a standard normal prior. The colours should "
    "together fill the prior, and each keep to its own part."
)
CLASSES = (
    "Left: share of each class over the split under the guide, the most frequent first. Right: "
    "mutual information of each variable and the data. Dashed: equal use of all classes."
)


def sections(run: Run, split: str, seed: int) -> list[Section]:
    """Sections on the latents of a model; empty if it has none."""
    used = classes(run, split, seed)
    if run.model.traits.latents != "binary":
        return used
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


def posteriors(run: Run, split: str, seed: int) -> list[Section]:
    """Draws of two latents by row; empty for other latents and for more than a few rows."""
    if obstacle(run.model) is not None or sum(sizes(run.model.latents).values()) != 2:
        return []
    rows, _ = distinct(run.splits[split])
    if len(rows) > ROWS:
        return []
    with drawing(run.model, seed, "posteriors") as device:
        batch = rows.batch(range(len(rows))).to(device)
        values = draw(run.guide, batch, DRAWS, pathwise=False).values
        z = torch.cat([values[name] for name in run.model.latents], -1)[:, :, 0]
    labels = [" ".join(f"{number:g}" for number in row[:LABEL]) for row in rows.x.tolist()]
    picture = Picture(png_uri(posterior_scatter(z.transpose(0, 1).cpu().numpy(), labels)), BY_ROW)
    return [Section("Latents of each row", [picture])]


def classes(run: Run, split: str, seed: int) -> list[Section]:
    """How the classes of categorical latents are used; empty if there are none."""
    if not any(site.classes for site in run.model.latents.values()):
        return []
    sequences, shared = run.splits[split], run.guide.traits.codebook
    expected = expected_latents(run.model, run.guide, sequences, draws=PATHS, seed=seed)
    found = class_use(expected, run.model.latents, shared=shared)
    words = class_words({name: use.to_dict() for name, use in found.items()})
    picture = Picture(png_uri(class_shares(found)), CLASSES)
    tables = [class_table(name, use) for name, use in found.items()]
    return [Section("Classes of the latents", [Text(words), picture, *tables])]


def class_table(name: str, use: ClassUse) -> Table:
    """Every variable of a site with its information about the data, the largest first."""
    numbers = [use.information, use.aggregate, use.conditional, use.shares.max(1)]
    numbers.append((use.shares < DEAD / use.shares.shape[1]).sum(1))
    order = np.argsort(-use.information, kind="stable")[:VARIABLES]
    rows = [[f"{name} {j}", *(float(values[j]) for values in numbers)] for j in order]
    columns = [
        Column("variable"),
        Column("about the data"),
        Column("entropy of aggregate"),
        Column("mean conditional entropy"),
        Column("largest share", digits=2),
        Column("dead classes", digits=0),
    ]
    note = f"Nats. A class is dead if its share is below {DEAD:g} of that under uniform use."
    return Table(columns, rows, notes=[note])


def units(run: Run, dictionary: Dictionary) -> Section:
    """The dictionary as a picture."""
    figure = png_uri(draw_dictionary(dictionary, run.splits.info))
    caption = f"Contribution of each unit of {dictionary.site}: red positive, blue negative. "
    if dictionary.activity is None:
        caption += "Units with the largest weights first."
    else:
        caption += (
            "Units are sorted by effect, the norm of the weights times the standard deviation of "
            "the unit. The number at each unit is the share of frames in which it is on."
        )
    return Section("Weights of the latents", [Picture(figure, caption)])


def activity(run: Run, split: str, expected: dict[str, np.ndarray]) -> Section:
    """Activity of the units of every layer in the first sequence, or in evenly spread rows."""
    sequences, blocks = run.splits[split], []
    shown, what = np.arange(len(seen_counts(sequences))), f"{split} sequence 0"
    if sequences.lengths.max() == 1:
        shown = np.linspace(0, len(sequences) - 1, min(FRAMES_SHOWN, len(sequences))).astype(int)
        what = f"{len(shown)} rows of the {split} split, in order"
    for name, frames in expected.items():
        share = frames.mean(0)
        idle = int(((share < 0.01) | (share > 0.99)).sum())
        caption = (
            f"Layer {name}: expected value of each unit under the guide, left in {what}, right on "
            f"average over the split. {idle} of {len(share)} units are on in less than 1 % or more "
            "than 99 % of the frames."
        )
        blocks.append(Picture(png_uri(latent_activity(frames[shown], share)), caption))
    return Section("Activity of the latents", blocks)


def topics(run: Run, split: str, seed: int) -> Section:
    """The topics with coherent words: their words, and their probability over time."""
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
        f"The {len(found)} units with the most coherent words, without repetitions. Coherence is "
        "the mean correlation over time of pairs of the unit's words, with slow changes removed; "
        "for random words it is about 0. Associated words are significantly more frequent in "
        "frames with the unit on than in nearby frames with it off. Distinctive words are those "
        "that the unit contributes and others do not. Words of largest weight, as published, are "
        "often rare."
    )
    labels = times(run.splits.info, len(found[0].probability))
    figure = topic_trajectories(labels, found)
    caption = "Probability of each topic given the words, q(z = 1 | x)."
    columns = [
        Column("unit"),
        Column("coherence", digits=2),
        Column("on", "%", 0),
        Column("associated words"),
        Column("distinctive words"),
        Column("words of largest weight"),
    ]
    table = Table(columns, rows, numeric=False, notes=[note])
    return Section("Topics", [table, Picture(png_uri(figure), caption)])


def times(info: DataInfo, length: int) -> list[float]:
    """Times of the frames of the first sequence: their labels if these are numbers."""
    try:
        return [float(info.frame_labels[t]) for t in range(length)]
    except (ValueError, IndexError):
        return [float(t) for t in range(length)]
