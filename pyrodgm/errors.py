"""Exceptions and warnings: each message says what was given, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PyrodgmError(Exception):
    """Base of all our errors; `exit_code` is the exit code of the command line."""

    exit_code = 2


class UsageError(PyrodgmError, ValueError):
    """A name, option or argument is wrong."""


class ConfigError(UsageError):
    """One or more configuration values are wrong; the message lists all of them."""


class CompatibilityError(UsageError):
    """A trait of the model, the guide or the objective does not fit the other two."""


class RunFolderError(UsageError):
    """A run folder is missing, occupied or not valid."""


class DataError(PyrodgmError, ValueError):
    """The data cannot be read, or does not match the model."""

    exit_code = 3


class MissingDataError(DataError):
    """The data that a run was fitted on is needed, but is no longer at its place."""


class CheckpointError(PyrodgmError, OSError):
    """A checkpoint could not be written or read; earlier checkpoints are untouched."""

    exit_code = 3


class NonFiniteError(PyrodgmError, ArithmeticError):
    """Training produced a number that is not finite."""

    exit_code = 4


class ChangedWarning(UserWarning):
    """Data, code or the length of a run has changed since it was fitted."""


class LeftOutWarning(UserWarning):
    """A part of the result is omitted because it would cost too much."""


class DataWarning(UserWarning):
    """A remark on the data or on how it was read."""


class ChunkWarning(UserWarning):
    """The guide sees less of a sequence in chunks than of a whole one."""


class TrainingWarning(UserWarning):
    """What is learned may be worth little; such warnings of a training are kept with the run."""


class ChainWarning(TrainingWarning):
    """A Markov chain hardly moves, so that its states do not represent its distribution."""


class CodebookWarning(TrainingWarning):
    """Codes of a codebook are not in use."""


class CriticWarning(TrainingWarning):
    """A game with a critic stalls or explodes."""


class QuadratureWarning(UserWarning):
    """An integral over a grid has not converged on the finest one."""


class Interrupted(PyrodgmError):
    """Training was interrupted, after a checkpoint was written."""

    exit_code = 130


class FailedRuns(PyrodgmError):
    """Some runs of a study failed; the others are kept.

    Args:
        message: which.
        exit_code: of the command line.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Mistakes:
    """Collects mistakes, to report all of them at once."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        """Add a mistake."""
        self.messages.append(message)

    def raise_if_any(self) -> None:
        """Raise if there was a mistake.

        Raises:
            ConfigError: lists every mistake.
        """
        if len(self.messages) == 1:
            raise ConfigError(self.messages[0])
        if self.messages:
            lines = [f"{len(self.messages)} mistakes in the configuration:"]
            raise ConfigError("\n  ".join([*lines, *self.messages]))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known word, or lists them all.

    >>> did_you_mean("tsbm", ["tsbn", "vae"])
    "did you mean 'tsbn'?"
    >>> did_you_mean("zzz", ["tsbn", "vae"])
    'known: tsbn, vae'
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
