"""The data of a run: the data that it was fitted on, and the data that it is evaluated on."""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path

import numpy as np

from pyrodgm.data import load
from pyrodgm.data.base import SPLITS, DataInfo, Sequences, Splits
from pyrodgm.data.evaluation import Data, EvaluationData, Given, given_data
from pyrodgm.errors import ChangedWarning, DataWarning, MissingDataError, UsageError
from pyrodgm.evaluate.likelihood.bound import Bound
from pyrodgm.evaluate.trivial.likelihoods import predictors, scores
from pyrodgm.evaluate.trivial.predictors import Predictor
from pyrodgm.evaluate.trivial.predictors import predictors as baseline_predictors
from pyrodgm.evaluate.trivial.stored import (
    keep_autoregression,
    keep_likelihood,
    stored_autoregression,
    stored_likelihood,
)
from pyrodgm.runs.loading import is_own, located, own_data, read_other, resolved
from pyrodgm.setup.config import RunConfig
from pyrodgm.storage.folder import RunFolder

DataChoice = str | Given | None  # the name of a split, sequences, or None for the default


class RunData:
    """The data that a run was fitted on and the data for evaluation, each read when needed.

    Args:
        folder: of the run.
        own: the data that it was fitted on; read from its original place if not given.
        other: the data for evaluation; the data that it was fitted on if not given.
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
        """The data of a run, with a source given by the user.

        Args:
            folder: of the run.
            source: data, a name or a file. If its digest is that of the data of the fit, it is
                used as such, with the same splits.

        Raises:
            DataError: it cannot be read, or does not match the model.
            UsageError: the source is of another type.
        """
        data, own = cls(folder), None
        if isinstance(source, Splits):
            own = source if is_own(folder, source) else None
        elif source is not None and (found := located(folder, data.config, source)):
            own, _ = found
        if own is not None:
            data.own, data._unchanged = own, True
        elif isinstance(source, Splits):
            data.other = EvaluationData.of_splits(source, folder.info)
        elif source is not None:
            data.other = read_other(source, folder.info)
        return data

    @cached_property
    def config(self) -> RunConfig | None:
        """The configuration of the run; None if it was fitted from Python objects."""
        return resolved(self.folder, self.folder.values)

    @cached_property
    def own(self) -> Splits:
        """The data that the run was fitted on.

        Raises:
            MissingDataError: it is no longer at its place.
        """
        splits = own_data(self.folder, self.config)
        before = self.folder.made_with["data_sha256"]
        if before and splits.sha256 != before:
            words = f"the data of {self.folder.path} has changed since it was fitted"
            warnings.warn(f"{words}; results are for the new data", ChangedWarning, stacklevel=4)
        return splits

    @cached_property
    def info(self) -> DataInfo:
        """The facts that the model was built from."""
        if self._unchanged:
            return self.own.info
        info = self.folder.info
        if info.kind == "count" and not info.num_frames:  # a folder of an older version
            return self.own.info
        return info

    @cached_property
    def splits(self) -> Data:
        """The data for evaluation, by name.

        Raises:
            MissingDataError: it is the data of the fit, which is no longer at its place.
        """
        if self.other is not None:
            return self.other
        before = self.folder.made_with["data_sha256"]
        if self._unchanged or self.own.sha256 == before:
            return self.own.placed(self.info)
        return EvaluationData.of_splits(self.own, self.folder.info)

    def choose(self, what: DataChoice, default: str = "test") -> tuple[Data, str]:
        """Data, and the name of a part of it.

        Args:
            what: the name of a split, or sequences; if None, the default split, or the first one.
            default: the name of a split.

        Raises:
            UsageError: there is no such split.
            DataError: the sequences do not match the model.
        """
        if what is not None and not isinstance(what, str):
            data = given_data(what, self.info)
            return data, next(iter(data.parts))
        name = what or (default if default in self.names else self.names[0])
        self.splits[name]
        return self.splits, name

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts of the data for evaluation."""
        return SPLITS if self.other is None else tuple(name for name, _ in self.other.items())

    def trivial_bounds(
        self, data: Data, name: str, *, totals: bool = False, rows: np.ndarray | None = None
    ) -> dict[str, Bound]:
        """Log-likelihoods of trivial predictors fitted on the training data of the run.

        Empty, with a warning, if they were not stored and that data is missing.

        Args:
            data: the data to score.
            name: of the part to score.
            totals: for counts, whether the total per frame is scored too.
            rows: of the sequences to score; all if not given.
        """
        known = self._likelihood(totals)
        part = data[name] if rows is None else data[name].select(rows)
        return scores(predictors(known, data.info), part) if known else {}

    def _likelihood(self, totals: bool = False) -> dict[str, np.ndarray]:
        """Statistics of the training data for trivial predictors; empty if they are missing."""
        try:
            return stored_likelihood(self.folder) or keep_likelihood(
                self.folder, self.own, totals=totals
            )
        except MissingDataError as error:
            warnings.warn(f"no trivial predictors: {error}", DataWarning, stacklevel=4)
            return {}

    def baselines(self, data: Data, order: int) -> dict[str, Predictor]:
        """Trivial predictors of the next frame, fitted on the training data of the run.

        The linear autoregression is omitted, with a warning, if it was not stored and that data is
        missing.
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
        """The same sequences from another file, for instance without missing values.

        Args:
            source: a file, or the name of a dataset.
            name: of the part, in the file or in the splits of the run.
        """
        found = read_other(source, self.info)
        if name in found.parts:
            return found.parts[name]
        if self.other is not None and len(found.parts) == 1:
            return next(iter(found.parts.values()))
        return load(source, **(self.config.data.options if self.config else {}))[name]

    def refuse_to_replace(self, path: Path, *sources: str | None) -> None:
        """Raise if a file to be written is one of the data files, or part of the run.

        Args:
            path: to be written.
            sources: other data in use, as taken by `pyrodgm.data.load`.

        Raises:
            UsageError: the file is in use, or would be in a folder of recordings in use.
        """
        if self.config is not None:
            own = self.config.data
            sources = (*sources, own.name, own.options.get("path"))
        target = path.expanduser().resolve()
        if self.folder.needs(target):
            raise UsageError(
                f"{path} is a file of the run {self.folder.path}, which needs it; give another "
                "file to write"
            )
        places = [Path(source).expanduser().resolve() for source in sources if source]
        sound = target.suffix.lower() == ".wav"  # which would be one more recording in a folder
        if any(place == target or (sound and place in target.parents) for place in places):
            raise UsageError(f"{path} is data used by this command; give another file to write")
