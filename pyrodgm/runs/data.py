"""The data of a run: what it was fitted on, wherever that is now, and what it is asked about."""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path

import numpy as np

from pyrodgm.data import load
from pyrodgm.data.base import SPLITS, DataInfo, Sequences, Splits
from pyrodgm.data.evaluation import Data, EvaluationData, Given, given_data
from pyrodgm.errors import ChangedWarning, DataWarning, MissingDataError, UsageError
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
from pyrodgm.runs.loading import is_own, located, own_data, read_other, resolved
from pyrodgm.setup.config import RunConfig
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
        """The configuration of the run; None where it was fitted from Python objects."""
        return resolved(self.folder, self.folder.values)

    @cached_property
    def own(self) -> Splits:
        """The data that the run was fitted on.

        Raises:
            MissingDataError: it is not where it was.
        """
        splits = own_data(self.folder, self.config)
        before = self.folder.made_with["data_sha256"]
        if before and splits.sha256 != before:
            words = f"the data of {self.folder.path} has changed since it was fitted"
            warnings.warn(f"{words}; numbers are of other data", ChangedWarning, stacklevel=4)
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
        """What the run is asked about, by name.

        Raises:
            MissingDataError: it is what the run was fitted on, and that is not where it was.
        """
        if self.other is not None:
            return self.other
        before = self.folder.made_with["data_sha256"]
        if self._unchanged or self.own.sha256 == before:
            return self.own.placed(self.info)
        return EvaluationData.of_splits(self.own, self.folder.info)

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

    def trivial_bounds(self, data: Data, name: str, *, totals: bool = False) -> dict[str, Bound]:
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
        return load(source, **(self.config.data.options if self.config else {}))[name]

    def refuse_to_replace(self, path: Path, *sources: str | None) -> None:
        """Raise where a file to be written is data, that of the run or another, or part of the run.

        Args:
            path: to be written.
            sources: other data that is read, as `pyrodgm.data.load` takes it.

        Raises:
            UsageError: it is.
        """
        if self.config is not None:
            own = self.config.data
            sources = (*sources, own.name, own.options.get("path"))
        target = path.expanduser().resolve()
        if self.folder.needs(target):
            raise UsageError(
                f"{path} is a file that the run {self.folder.path} cannot do without; give another "
                "file to write"
            )
        if any(source and Path(source).expanduser().resolve() == target for source in sources):
            raise UsageError(f"{path} is data that is read here; give another file to write")
