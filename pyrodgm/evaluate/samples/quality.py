"""How similar draws from a model are to data, without a density of either.

Draws are compared with held-out and with training rows by a kernel test, by known modes, and by a
classifier of the data. The rows of training are measured in the same way, as a reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from pyrodgm.arguments import check_whole
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.prediction.reconstruction import has_reconstructions, reconstruction_error
from pyrodgm.evaluate.prediction.samples import Sampler, sample, sampled
from pyrodgm.evaluate.samples.classifier import Classifier, classifier, labels_of
from pyrodgm.evaluate.samples.inception import inception_score
from pyrodgm.evaluate.samples.kernel_test import KernelTest, kernel_test
from pyrodgm.evaluate.samples.modes import SETS, SIZE, Coverage, coverage, exact_coverage
from pyrodgm.guides import Guide
from pyrodgm.models import EnergyModel, Generator, Model, StepModel
from pyrodgm.seeds import numpy_generator
from pyrodgm.tables import Measured

LEAST_ROWS = 2
DRAWS = 2000  # of the model; of points with known modes, SETS * SIZE
TESTED = 1000  # rows of each set in a kernel test
PORTION = 500  # rows drawn together
MODEL, TRAIN, EXACT = "draws", "train", "exact"  # what is measured
GUIDE = "guide"  # draws of a guide over observations, before their revision
REVISED = "revised"  # draws after Markov moves
SAMPLERS = {GUIDE: "draws of the guide", REVISED: "revised draws"}  # in words


@dataclass(frozen=True)
class Looks:
    """What was measured of one set of rows.

    Args:
        coverage: of known modes, if there are any.
        score: inception-style, if there is a classifier.
        tests: kernel tests against other sets, by their name.
    """

    coverage: Coverage | None = None
    score: Measured | None = None
    tests: Mapping[str, KernelTest] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found: dict[str, Any] = {}
        if self.coverage is not None:
            found["modes"] = self.coverage.to_dict()
        if self.score is not None:
            score = {"inception_score": self.score.value, "standard_error": self.score.error}
            found["classes"] = score
        return {**found, "kernel_tests": {k: test.to_dict() for k, test in self.tests.items()}}


@dataclass(frozen=True)
class Quality:
    """Draws from a model beside data.

    Args:
        split: name of the held-out rows.
        draws: number of draws.
        looks: of the draws, and of training rows as a reference.
        classes: number of classes of the classifier, if there is one.
        labels: what the classifier was trained to predict.
        accuracy: of the classifier on the held-out rows.
        expected: covered modes and realistic share of exact draws, if modes are known.
        names: of sets of draws, where they are not those of the model itself.
        reconstruction: mean squared error per feature of held-out rows, from one draw of their
            latents each, if there are latents.
    """

    split: str
    draws: int
    looks: Mapping[str, Looks]
    classes: int = 0
    labels: str = ""
    accuracy: float | None = None
    expected: tuple[float, float] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    reconstruction: Measured | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found: dict[str, Any] = {name: each.to_dict() for name, each in self.looks.items()}
        if self.expected is not None:
            found[EXACT] = dict(zip(("covered", "realistic"), self.expected, strict=True))
        if self.accuracy is not None:
            found["classifier"] = {
                "classes": self.classes, "labels": self.labels, "accuracy": self.accuracy,
            }  # fmt: skip
        if self.reconstruction is not None:
            found["reconstruction"] = {
                "squared_error": self.reconstruction.value,
                "standard_error": self.reconstruction.error,
            }
        return {"number_of_draws": self.draws, **found}


def why_not(model: Model, info: DataInfo, held_out: Sequences) -> str:
    """Why draws from a model are not compared with such rows; empty if they are."""
    if not isinstance(model, StepModel | Generator | EnergyModel):
        return f"{type(model).__name__} cannot draw observations"
    if info.max_length > 1:
        return (
            f"draws are compared with data as independent rows, but '{info.name}' has sequences of "
            f"up to {info.max_length} frames"
        )
    if info.kind == "count":
        return "draws of counts need the total of every row, and are not compared with data"
    if (complete := int((~held_out.x.isnan().any(1)).sum())) < LEAST_ROWS:
        return (
            f"draws are compared with at least {LEAST_ROWS} rows without missing values, but there "
            f"are {complete}; give more by --data, or another --split"
        )
    return ""


def quality(
    model: Model,
    guide: Guide,
    info: DataInfo,
    held_out: Sequences,
    training: Sequences | None,
    *,
    split: str = "test",
    draws: int | None = None,
    samplers: Mapping[str, Sampler] = MappingProxyType({}),
    seed: int = 0,
) -> Quality:
    """Compare draws from a model with held-out rows, and with training rows if they are there.

    Rows with missing values are left out. Conditional models draw under the conditions of the
    held-out rows.

    Args:
        model: the model p.
        guide: the guide q.
        info: facts of the data that the model was fitted on.
        held_out: rows that the model was not fitted on.
        training: the rows it was fitted on; without them there is no classifier and no reference.
        split: name of the held-out rows.
        draws: number of draws; by default 2000, or 10,000 where modes are known.
        samplers: what draws in the place of the model, by name; the last one stands for it.
        seed: of all draws; the global generator is left alone.

    Raises:
        UsageError: sequences of several frames, counts, fewer than two complete rows, or fewer than
            two draws.
    """
    if refused := why_not(model, info, held_out):
        raise UsageError(refused)
    num = (SETS * SIZE if info.modes else DRAWS) if draws is None else draws
    check_whole(2, draws=num)
    given: dict[str, Any] = {"split": split, "seed": seed}
    if samplers:
        return _of_samplers(samplers, model, info, held_out, training, num=num, **given)
    x = drawn_rows(model, guide, info, held_out, num, seed)
    found = compared(x, info, held_out, training, **given)
    if not has_reconstructions(model, guide, info):
        return found
    return replace(found, reconstruction=reconstruction_error(model, guide, held_out, seed=seed))


def compared(
    x: np.ndarray,
    info: DataInfo,
    held_out: Sequences,
    training: Sequences | None,
    *,
    beside: Mapping[str, np.ndarray] = MappingProxyType({}),
    split: str = "test",
    seed: int = 0,
) -> Quality:
    """Compare given draws, (N, D) in the units of the data, and others beside; see `quality`."""
    sets = {MODEL: x, **beside, split: rows_of(held_out, seed)}
    if training is not None:
        sets[TRAIN] = rows_of(training, seed)
    tests = _tests(sets, split, info, seed, drawn=(MODEL, *beside))
    judge = None
    if training is not None and split != TRAIN and _classes(training, info) > 1:
        judge = classifier(training, info)
    shown = {name: sets[name] for name in (MODEL, *beside, TRAIN if TRAIN in sets else split)}
    looks = {
        name: Looks(_coverage(rows, info), _score(judge, held_out, rows), tests.get(name, {}))
        for name, rows in shown.items()
    }
    return Quality(
        split,
        len(x),
        looks,
        classes=0 if judge is None else len(judge.classes),
        labels="" if judge is None else judge.source,
        accuracy=None if judge is None else _accuracy(judge, held_out, info),
        expected=exact_coverage(len(info.modes), info.dim, min(SIZE, len(x)))
        if info.modes
        else None,
    )


def _accuracy(judge: Classifier, held_out: Sequences, info: DataInfo) -> float | None:
    """The share of held-out rows that are classified correctly; None if classes are not known."""
    known = labels_of(held_out, info)
    if known is None or held_out.has_missing:
        return None
    return judge.accuracy(held_out.centred(held_out.x), known[0])


def drawn_rows(
    model: Model, guide: Guide, info: DataInfo, sequences: Sequences, num: int, seed: int
) -> np.ndarray:
    """Rows drawn from a model, (num, D), in the units of the data."""
    rng, parts = numpy_generator(seed, "drawn rows"), []
    for start in range(0, num, PORTION):
        size, own = min(PORTION, num - start), int(rng.integers(2**31))
        given = sequences
        if info.num_conditions:
            given = sequences.select(rng.integers(len(sequences), size=size))
        parts.append(sample(model, guide, info, given, num=size, length=1, seed=own)["x"][:, 0])
    return torch.cat(parts).cpu().double().numpy()


def _of_samplers(
    samplers: Mapping[str, Sampler],
    model: Model,
    info: DataInfo,
    held_out: Sequences,
    training: Sequences | None,
    *,
    num: int,
    split: str,
    seed: int,
) -> Quality:
    """The same of the draws of samplers: those that stand for the model, and the others beside."""
    given: dict[str, Any] = {"num": num, "length": 1, "seed": seed}
    source = held_out
    if info.num_conditions:  # at random, since rows may be sorted by class
        rng = numpy_generator(seed, "drawn rows")
        source = held_out.select(rng.integers(len(held_out), size=num))
    rows = {
        name: sampled(sampler, model, info, source, **given)[:, 0].cpu().double().numpy()
        for name, sampler in samplers.items()
    }
    *others, chosen = rows
    beside = {name: rows[name] for name in others}
    result = compared(rows[chosen], info, held_out, training, beside=beside, split=split, seed=seed)
    names = {MODEL: chosen, **dict(zip(others, others, strict=True))}
    words = {key: SAMPLERS.get(name, name) for key, name in names.items() if name != MODEL}
    return replace(result, names=words)


def rows_of(sequences: Sequences, seed: int) -> np.ndarray:
    """Complete rows in random order, (N, D)."""
    x = sequences.x.double().numpy()
    x = x[~np.isnan(x).any(1)]
    return numpy_generator(seed, "rows").permutation(x)


def _tests(
    sets: Mapping[str, np.ndarray], split: str, info: DataInfo, seed: int, drawn: tuple[str, ...]
) -> dict[str, dict[str, KernelTest]]:
    """Kernel tests of draws and of training rows, with features in their standard deviations."""
    scale = np.where(np.array(info.std) > 0, info.std, 1.0) if info.kind == "real" else 1.0
    size = min(TESTED, *map(len, sets.values()))
    few = {name: x[:size] / scale for name, x in sets.items()}
    tests = {
        name: {
            other: kernel_test(few[name], few[other], seed=seed)
            for other in (split, TRAIN)
            if other in few and other != name
        }
        for name in (*drawn, TRAIN)
        if name in few
    }
    half = min(TESTED, len(sets[split]) // 2)
    # Without other rows, two halves of the held-out ones are the reference.
    if (TRAIN not in few or split == TRAIN) and half > 1:
        halves = sets[split][: 2 * half] / scale
        tests[split] = {split: kernel_test(halves[:half], halves[half:], seed=seed)}
    return tests


def _classes(training: Sequences, info: DataInfo) -> int:
    found = labels_of(training, info)
    return 0 if found is None or training.has_missing else len(set(found[0].tolist()))


def _coverage(x: np.ndarray, info: DataInfo) -> Coverage | None:
    if not info.modes:
        return None
    return coverage(x, np.array(info.modes), float(info.mode_std or 0))


def _score(judge: Classifier | None, units: Sequences, x: np.ndarray) -> Measured | None:
    """The inception-style score of rows in the units of the data."""
    if judge is None:
        return None
    return inception_score(judge.probabilities(units.centred(torch.from_numpy(x[:DRAWS]))))
