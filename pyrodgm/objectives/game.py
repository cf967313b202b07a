"""Games with a critic: the critic's phase, what it reports, and the watch that names failures."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import CriticWarning, DataError, DataWarning
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Objective, Phase
from pyrodgm.objectives.optimizer import OptimizerOptions
from pyrodgm.objectives.slope import SlopeBound
from pyrodgm.objectives.state import Apply, OwnState

ACCURACY = "critic_accuracy"
LARGEST = 1e4  # difference of a critic's values from which on it has diverged
SURE = 0.99  # accuracy from which on a critic leaves nothing to learn
ABNORMAL = 0.95  # accuracy from which on a guide is hardly like a normal distribution
NOTABLE = 0.1  # nats of KL per frame that a critic should notice
NOTICED = 2.0  # standard errors from which on an estimate of the critic differs from zero
SEEN = 0.01  # share of the KL term that a critic must find of it
FLAT = 0.1  # distance between draws, relative to data, below which they barely differ
FEW = 0.3  # share of data with draws nearby, below which modes are missing
PATIENCE = 3  # evaluations in a row


class Game(Objective):
    """An objective in which a critic has turns of its own.

    A game defines `critic_loss`, and `phases` with `critic_phase()` among them. Its `validate`
    passes the signs of a failing game to `watch`.

    Args:
        model: the model p.
        guide: the guide q.
        critic: the module that the critic's phase trains.
        optimizer: of the critic.
        steps: turns of the critic per step, each on a new batch.
        bound: on its slope; none by default.
    """

    def __init__(
        self,
        model: Model,
        guide: Guide,
        critic: nn.Module,
        *,
        optimizer: OptimizerOptions,
        steps: int = 1,
        bound: SlopeBound | None = None,
    ) -> None:
        super().__init__(model, guide)
        self.critic = critic
        self.critic_steps = steps
        self.critic_options = optimizer
        self.bound = SlopeBound() if bound is None else bound
        self.watch = Watch()

    @abstractmethod
    def critic_loss(self, batch: Batch) -> Loss:
        """What the critic minimises on a batch."""

    def critic_phase(self) -> Phase:
        """The critic's turns in a step, each on a batch of its own."""
        return Phase(
            "critic",
            (self.critic,),
            self.critic_loss,
            optimizer=self.critic_options,
            repeats=self.critic_steps,
            fresh=True,
            after=self.bound.after(self.critic),
        )


@dataclass(frozen=True)
class Symptom:
    """A sign of a failing game at one evaluation.

    Args:
        name: of the failure; each is named once in a run.
        words: what is seen, and what may help.
        at_once: whether a single evaluation is enough.
    """

    name: str
    words: str
    at_once: bool = False


class Watch(OwnState):
    """Names failing games in a warning, once each, after several evaluations in a row.

    Args:
        category: of the warning.

    >>> watch = Watch()
    >>> watch.see([Symptom("stalls", "nothing moves")])
    >>> watch.own_state()
    {'in_a_row': {'stalls': 1}}
    """

    def __init__(self, category: type[Warning] = CriticWarning) -> None:
        super().__init__()
        self._category = category
        self._in_a_row: dict[str, int] = {}

    def see(self, symptoms: Iterable[Symptom | None]) -> None:
        """Count the symptoms of an evaluation; those that are not there begin again."""
        found = {each.name: each for each in symptoms if each is not None}
        named = {name: n for name, n in self._in_a_row.items() if n >= PATIENCE}
        before, self._in_a_row = self._in_a_row, named
        for name, symptom in found.items():
            if name in named:
                continue
            self._in_a_row[name] = PATIENCE if symptom.at_once else before.get(name, 0) + 1
            if self._in_a_row[name] >= PATIENCE:
                warnings.warn(symptom.words, self._category, stacklevel=4)

    def own_state(self) -> dict[str, Any]:
        """Evaluations in a row, by symptom."""
        return {"in_a_row": dict(self._in_a_row)}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Restore the counts."""
        self._in_a_row = dict(state["in_a_row"])

    def move(self, change: Apply) -> None:
        """There are no tensors."""
        del change


def frame_mean(values: Tensor, batch: Batch) -> Tensor:
    """The mean over draws and frames of values (B, T) or (K, B, T), without padding."""
    frames, all_frames = batch.num_frames, batch.mask.numel()
    if frames == all_frames:
        return values.mean()
    return (values * batch.mask).sum() / (frames * (values.numel() // all_frames))


def per_sequence(mean: Tensor, batch: Batch) -> Tensor:
    """A mean over frames as their sum per sequence, by whose number training weighs a batch.

    All frames then count alike, although batches have sequences of similar lengths.
    """
    return mean * (batch.num_frames / batch.size)


def accuracy(of_data: Tensor, of_draws: Tensor) -> Tensor:
    """Whether V > 0 at data and V < 0 at draws: 1, 1/2 if one of the two, or 0; elementwise.

    Args:
        of_data: the critic V at data.
        of_draws: at as many draws.
    """
    return 0.5 * ((of_data > 0).to(of_data) + (of_draws < 0).to(of_data))


def refuse_missing(training: Sequences) -> None:
    """Raise where training data has missing values, which no draw has.

    Raises:
        DataError: values are missing.
    """
    if training.has_missing:
        raise DataError(
            "the objective compares whole frames, but the training data has missing values; fill "
            "them in, or leave these frames out"
        )


def complete(sequences: Sequences) -> Sequences:
    """The sequences without missing values, which alone are like draws.

    Warns:
        DataWarning: some are left out; if all of them would be, none is.
    """
    if not sequences.has_missing:
        return sequences
    count, owner = len(sequences), np.repeat(np.arange(len(sequences)), sequences.lengths)
    missing = np.bincount(owner[sequences.x.isnan().any(1).numpy()], minlength=count) > 0
    if missing.all():
        warnings.warn(
            "all held-out sequences have missing values, in whose place the game compares training "
            "means with draws; its measures are not those of complete data",
            DataWarning,
            stacklevel=3,
        )
        return sequences
    warnings.warn(
        f"{int(missing.sum())} of {count} held-out sequences have missing values, which no draw "
        "has; the measures of the game are of the others",
        DataWarning,
        stacklevel=3,
    )
    return sequences.select(np.flatnonzero(~missing))


def wins(share: float, *, between: str = "data and draws") -> Symptom | None:
    """A critic that is nearly always right, so that the others learn little from it."""
    if share < SURE:
        return None
    return Symptom(
        "wins",
        f"the critic distinguishes {between} in {share:.1%} of cases at {PATIENCE} evaluations in "
        "a row, so that what it teaches may vanish: fewer objective.critic_steps, a smaller "
        "objective.critic_lr, or an objective.bound on its slope may help",
    )


def degenerates(share: float) -> Symptom | None:
    """A guide whose draws hardly overlap with normal ones of the same moments."""
    if share < ABNORMAL:
        return None
    return Symptom(
        "degenerates",
        "the critic separates draws of the guide from normal ones of the same moments in "
        f"{share:.1%} of cases at {PATIENCE} evaluations in a row: the guide's draws may have "
        "collapsed to a line, or to a point with rare distant ones, which the estimate of the "
        "critic hardly counts; "
        "objective.critic=quadratic, more objective.critic_steps or a smaller fit.lr may help",
    )


def explodes(difference: float) -> Symptom | None:
    """A critic whose values, or the draws that it sees, have diverged."""
    if abs(difference) < LARGEST:
        return None
    return Symptom(
        "explodes",
        f"the critic's values for the two kinds of draws differ by {difference:.3g}: the critic, "
        "or what it sees, has diverged; an objective.bound on its slope, a smaller "
        "objective.critic_lr or a smaller fit.lr may help",
        at_once=True,
    )


def collapses(
    spread: float, covered: float, realistic: float, *, advice: Iterable[str] = ()
) -> Symptom | None:
    """Draws that barely differ, or that are realistic but resemble few of the data.

    Args:
        spread: distance between draws, relative to that between data.
        covered: share of the data that have draws nearby.
        realistic: share of the draws that have data nearby.
        advice: what may help beside more turns of the critic and a smaller learning rate.
    """
    if spread < FLAT:
        found = f"draws barely differ: the distance between two is {spread:.2g} of that of data"
    elif covered < FEW and realistic > 0.5:
        found = f"draws resemble only {covered:.0%} of the data: modes are missing"
    else:
        return None
    return Symptom(
        "collapses",
        f"{found}; {', '.join(['more objective.critic_steps', *advice])} or a smaller learning "
        "rate may help",
    )


def stalls(estimate: float, error: float, kl: float, frames: float, *, advice: str = "") -> (
    Symptom | None
):  # fmt: skip
    r"""A critic to which guide and prior look alike, although their KL term is not small.

    By data processing, the numbers that the critic gives to draws of the two differ by no more KL
    than the draws themselves. Were they normal with the same variance, this would be
    :math:`m^2 / 2 s^2` for their difference m and standard deviation s, which does not depend on
    the scale of the critic. A share of the KL term below `SEEN` counts as nothing.

    Args:
        estimate: mean m of the critic's difference, over one pair of draws per sequence.
        error: its standard error.
        kl: the KL term, nats per frame.
        frames: number of frames of all sequences.
        advice: what else may help.
    """
    variance = error**2  # of the mean of N differences: s^2 of both sides, 2 s^2 / N
    seen = estimate**2 / variance if variance > 0 else 0.0  # nats that all sequences show together
    if kl < NOTABLE or (abs(estimate) > NOTICED * error and seen > SEEN * kl * frames):
        return None
    return Symptom(
        "stalls",
        f"the critic hardly distinguishes paths of the guide and of the prior ({estimate:.3g}, "
        f"standard error {error:.3g}), although they differ by {kl:.3g} nats of KL per frame: the "
        "game does not regularise; more objective.critic_steps, a larger objective.critic_lr, "
        f"another objective.bound{advice} may help",
    )
