"""The data of a run: what it was fitted on, wherever that is now, and what it is asked about."""

from __future__ import annotations

import shlex
import warnings
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from pyrodgm.data import DATASETS, find_loader, load, local
from pyrodgm.data.base import SPLITS, DataInfo, Sequences, Splits
from pyrodgm.data.evaluation import Data, EvaluationData, Given, given_data
from pyrodgm.data.evaluation_files import read_evaluation
from pyrodgm.errors import ChangedWarning, DataError, DataWarning, MissingDataError
from pyrodgm.evaluate.likelihood.bounds import Bound
from pyrodgm.evaluate.trivial.likelihoods import predictors, scores
from pyrodgm.evaluate.trivial.predictors import Predictor
from pyrodgm.evaluate.trivial.predictors import predictors as baseline_predictors
from pyrodgm.evaluate.trivial.stored import (
    keep_autoregression,
    keep_likelihood,
    stored_autoregression,
    stored_likelihood,
)
from pyrodgm.runs.loading import read_config
from pyrodgm.setup.build import build_data
from pyrodgm.setup.config import Component, RunConfig
from pyrodgm.storage.folder import RunFolder

Asked = str | Given | None  # the name of a split, sequences, or all that there is


class RunData:
    """What a run was fitted on and what it is asked about, each read when it is needed.

    Args:
        folder: of the run.
        own: the data that it was fitted on; read from where it was if not given.
        other: what it is asked about; the data that it was fitted on if not given.
    """

    def __init__(
        self, folder: RunFolder, *, own: Splits | None = None, other: Data | None = None
    ) -> None:
        self.folder = folder
        self.other = other
        self._unchanged = own is not None
        if own is not None:
            self.own = own

    @classmethod
    def of(cls, folder: RunFolder, source: Splits | str | Path | None) -> RunData:
        """The data of a run, given what a person named in its place.

        Args:
            folder: of the run.
            source: data, a name or a file; where it is what the run was fitted on, it is known
                by its digest, and cut into the same splits.

        Raises:
            DataError: it cannot be read, or is not what the model takes.
        """
        if source is None:
            return cls(folder)
        if isinstance(source, Splits):
            if _is_own(folder, source):
                return cls(folder, own=source)
            return cls(folder, other=EvaluationData.of_splits(source, folder.data_info()))
        if found := located(folder, source):
            return cls(folder, own=found[0])
        return cls(folder, other=read_other(source, folder.data_info()))

    @cached_property
    def own(self) -> Splits:
        """The data that the run was fitted on.

        Raises:
            MissingDataError: it is not where it was.
        """
        splits = own_data(self.folder, read_config(self.folder))
        before = self.folder.read_environment()["data_sha256"]
        if before and splits.sha256 != before:
            words = f"the data of {self.folder.path} has changed since it was fitted"
            warnings.warn(f"{words}; numbers are of other data", ChangedWarning, stacklevel=4)
        return splits

    @cached_property
    def info(self) -> DataInfo:
        """The facts that the model was built from."""
        if self._unchanged:
            return self.own.info
        info = self.folder.data_info()
        if info.kind == "count" and not info.num_frames:  # a folder of an older version
            return self.own.info
        return info

    @cached_property
    def splits(self) -> Data:
        """What the run is asked about, by name.

        Raises:
            MissingDataError: it is what the run was fitted on, and that is not where it was.
        """
        if self.other is not None:
            return self.other
        before = self.folder.read_environment()
        if self._unchanged or self.own.sha256 == before["data_sha256"]:
            return self.own.placed(self.info)
        return EvaluationData.of_splits(self.own, self.folder.data_info())

    def asked(self, what: Asked, default: str = "test") -> tuple[Data, str]:
        """Data, and the name in it that is meant.

        Args:
            what: the name of a split, or sequences of one's own; without, the default one, or the
                first that there is.
            default: the name of a split.

        Raises:
            UsageError: there is no such split.
            DataError: the sequences are not what the model takes.
        """
        if what is not None and not isinstance(what, str):
            data = given_data(what, self.info)
            return data, next(iter(data.parts))
        name = what or (default if default in self.names else self.names[0])
        self.splits[name]
        return self.splits, name

    @property
    def names(self) -> tuple[str, ...]:
        """Of what the run can be asked about."""
        return SPLITS if self.other is None else tuple(name for name, _ in self.other.items())

    def floors(self, data: Data, name: str, *, totals: bool = False) -> dict[str, Bound]:
        """Log-likelihoods of the trivial predictors of the training data of the run.

        Nothing, with a warning, where they were not kept and that data is not there.

        Args:
            data: what is asked about.
            name: the part that is meant.
            totals: of counts, whether how many there are is scored too.
        """
        known = self._likelihood(totals)
        return scores(predictors(known, data.info), data[name]) if known else {}

    def _likelihood(self, totals: bool = False) -> dict[str, np.ndarray]:
        """What trivial predictors know of the training data; nothing where that is not known."""
        try:
            return stored_likelihood(self.folder) or keep_likelihood(
                self.folder, self.own, totals=totals
            )
        except MissingDataError as error:
            warnings.warn(f"no trivial predictors: {error}", DataWarning, stacklevel=4)
            return {}

    def baselines(self, data: Data, order: int) -> dict[str, Predictor]:
        """Trivial predictors of the next frame, of the training data of the run.

        The linear autoregression is left out, with a warning, where it was not kept and that data
        is not there.
        """
        if data.info.kind == "categorical":
            return baseline_predictors(data.info, order, None, self._likelihood())
        linear = None
        if data.info.kind != "count":
            linear = stored_autoregression(self.folder, order)
            try:
                linear = linear or keep_autoregression(self.folder, self.own, order)
            except MissingDataError as error:
                warnings.warn(f"no linear autoregression: {error}", DataWarning, stacklevel=3)
        return baseline_predictors(data.info, order, linear)

    def truth(self, source: str | Path, name: str) -> Sequences:
        """The same sequences from another file, for instance without their gaps.

        Args:
            source: a file, or the name of a dataset.
            name: of the part that is meant: in the file, or as the file of the run is cut.
        """
        found = read_other(source, self.info)
        if name in found.parts:
            return found.parts[name]
        if self.other is not None and len(found.parts) == 1:
            return next(iter(found.parts.values()))
        config = read_config(self.folder)
        return load(source, **(config.data.options if config else {}))[name]


def own_data(folder: RunFolder, config: RunConfig | None) -> Splits:
    """The data that a run was fitted on, from where it was.

    Raises:
        MissingDataError: it is not there, or the run was fitted from Python objects.
    """
    if config is None:
        raise MissingDataError(
            f"{folder.path} was fitted from Python objects, and its data is needed here; give it "
            f"again: Run.load({str(folder.path)!r}, splits, objective=...)"
        )
    before = folder.read_environment()["data_sha256"] if folder.environment.is_file() else ""
    try:
        return build_data(config)
    except DataError as error:
        known = f" It is known by its sha256, {before}." if before else ""
        run = shlex.quote(str(folder.path))
        raise MissingDataError(
            f"the data that {folder.path} was fitted on is needed here: {error}.{known} If it has "
            f"moved, say where it is by --data FILE, as in: pyrodgm evaluate {run} --data FILE; "
            f"or pyrodgm fit --resume {run} --data FILE; from Python, "
            f"Run.load({str(folder.path)!r}, 'FILE')"
        ) from error


def located(folder: RunFolder, source: str | Path) -> tuple[Splits, RunConfig | None] | None:
    """What a run was fitted on, at another place, with its configuration as of now.

    Returns:
        None where it is other data, by its sha256.
    """
    environment, config = folder.read_environment(), read_config(folder)
    before, path = environment["data_sha256"], Path(source).expanduser().resolve()
    if not before or str(source) in DATASETS or not path.exists():
        return None
    if path.is_file() and local.sha256(path) != before:
        return None
    data = Component(str(path), {}) if config is None else config.data
    if data.name not in DATASETS:
        data = Component(str(path), data.options)
    elif "path" in data.options:
        data = Component(data.name, {**data.options, "path": str(path)})
    if data.name not in DATASETS and not path.is_file():
        return None
    splits = load(data.name, **data.options)
    if splits.sha256 != before:
        return None
    if config is None and not _is_own(folder, splits):
        raise DataError(
            f"{path} is the file that {folder.path} was fitted on, and was cut or read there with "
            "other options; give the splits in its place"
        )
    return splits, None if config is None else replace(config, data=data)


def read_other(source: str | Path, info: DataInfo) -> EvaluationData:
    """Other data than a run was fitted on, as its model takes it.

    Args:
        source: the name of a dataset, or a file.
        info: facts of the data that the model was fitted on.

    Raises:
        UsageError: there is no such dataset.
        DataError: it cannot be read, or is not what the model takes.
    """
    _, arguments = find_loader(source)
    if not arguments:
        return EvaluationData.of_splits(load(source), info)
    found = read_evaluation(source, info)
    if found.notes:
        warnings.warn(f"{found.info.name}: {'; '.join(found.notes)}", DataWarning, stacklevel=3)
    return found


def _is_own(folder: RunFolder, splits: Splits) -> bool:
    """Whether these are the very splits that a run was fitted on."""
    if not folder.environment.is_file():
        return True
    environment = folder.read_environment()
    if not environment["data_splits"]:  # a folder of an older version
        return splits.sha256 == environment["data_sha256"]
    return all(
        local.content_sha256(part) == environment["data_splits"][name]["sha256"]
        for name, part in splits.items()
    )
