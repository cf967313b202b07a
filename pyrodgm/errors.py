"""The exceptions a user can meet: each says what was given, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PyrodgmError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 2


class UsageError(PyrodgmError, ValueError):
    """A name, option or argument is wrong."""


class ConfigError(UsageError):
    """One or more configuration values are wrong; the message lists all of them."""


class CompatibilityError(UsageError):
    """A trait of the model, the guide or the objective does not fit the other two."""


class RunFolderError(UsageError):
    """A run folder is missing, occupied or not what it should be."""


class DataError(PyrodgmError, ValueError):
    """The data cannot be read, or cannot be what the model needs."""

    exit_code = 3


class MissingDataError(DataError):
    """The data that a run was fitted on is needed, and is not where it was."""


class CheckpointError(PyrodgmError, OSError):
    """A checkpoint could not be written or read; earlier checkpoints are untouched."""

    exit_code = 3


class NonFiniteError(PyrodgmError, ArithmeticError):
    """Training produced a number that is not finite."""

    exit_code = 4


class ChangedWarning(UserWarning):
    """Something is no longer as it was when a run was fitted."""


class LeftOutWarning(UserWarning):
    """Something is left out, since it would cost more than all the rest."""


class DataWarning(UserWarning):
    """What was done with the data, or noticed in it, that a person should know before a fit."""


class ChainWarning(UserWarning):
    """A Markov chain hardly moves, so that its states do not stand for their distribution."""


class QuadratureWarning(UserWarning):
    """An integral over a grid has not converged on the finest one."""


class Interrupted(PyrodgmError):
    """Training was asked to stop and did, after writing a checkpoint."""

    exit_code = 130


class Mistakes:
    """Collects every mistake, so that a person sees them all at once."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        """Note a mistake."""
        self.messages.append(message)

    def raise_if_any(self) -> None:
        """Stop if there was one.

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
