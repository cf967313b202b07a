"""The log-likelihood of a random field by importance sampling from a noise distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pyrodgm.arguments import check_whole
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.normaliser import check_scorable
from pyrodgm.evaluate.passes import Progress, chunks, drawing, silent
from pyrodgm.guides.base import Guide
from pyrodgm.guides.observations import ObservationGuide
from pyrodgm.models.base import Model
from pyrodgm.models.energy import EnergyModel
from pyrodgm.models.sequence_field import SequenceField

FieldEstimator = Literal["auto", "exact", "importance"]
TOTAL, LEAST = 20_000, 100  # draws of all normalisers together, and of each
FRAMES_AT_ONCE = 20_000  # drawn together: a loop over frames costs about the same for many


@dataclass(frozen=True)
class Normalisers:
    """Estimates of the log Z of groups of examples, in nats.

    Args:
        lower: log of the mean weight, below log Z in expectation, (G,).
        upper: above log Z in expectation, (G,); see `normalisers`.
        error: standard error of `lower`, by the delta method, (G,).
        log_w: log weights of the draws, (S, G); without draws if log Z is exact.
    """

    lower: np.ndarray
    upper: np.ndarray
    error: np.ndarray
    log_w: np.ndarray

    @property
    def acceptance(self) -> float | None:
        """Share of draws that a Metropolis independence chain accepts, a chain for each group.

        None with fewer than two draws.
        """
        if len(self.log_w) < 2:
            return None
        state, accepted = self.log_w[0], 0.0
        rng = np.random.default_rng(0)
        for proposal in self.log_w[1:]:
            probability = np.exp(np.minimum(0.0, proposal - state))
            accepted += float(probability.mean())
            state = np.where(rng.random(len(state)) < probability, proposal, state)
        return accepted / (len(self.log_w) - 1)


@dataclass(frozen=True)
class Weighed:
    """N sequences under a field and under its noise distribution, in nats.

    Args:
        ratio: log of the unnormalised density of every example relative to the noise, (E,).
        noise: log-density of the noise, or a lower bound on it in expectation, (N,).
        groups: which examples share a normaliser: the group of every example, (E,).
        owner: the sequence of every example, (E,); a sequence is one, or each of its frames is.
        of_groups: the normalisers.
    """

    ratio: np.ndarray
    noise: np.ndarray
    groups: np.ndarray
    owner: np.ndarray
    of_groups: Normalisers

    def above_noise(self, log_z: np.ndarray) -> np.ndarray:
        """Log-likelihood of every sequence above that of the noise, (N,), given log Z (G,)."""
        return np.bincount(self.owner, self.ratio - log_z[self.groups], len(self.noise))

    def above_noise_by_normaliser(self, log_z: np.ndarray) -> np.ndarray:
        """The same of examples, the mean over those of each normaliser, (G,)."""
        return np.bincount(self.groups, self.ratio - log_z[self.groups]) / np.bincount(self.groups)

    @property
    def error_of_mean(self) -> float:
        """Standard error of the mean over sequences of log Z, from the draws alone."""
        shares = np.bincount(self.groups, minlength=len(self.of_groups.error)) / len(self.noise)
        return float(np.sqrt(((shares * self.of_groups.error) ** 2).sum()))


def normalisers(log_w: np.ndarray) -> Normalisers:
    r"""Log Z from S log weights of each of G groups, (S, G), with :math:`\mathrm{E}\, w = Z`.

    .. math:: \text{lower} = \log \frac1S \sum_s w_s, \qquad
        \text{upper} = \log \bar w_A + \frac{\bar w_B}{\bar w_A} - 1

    where A and B are the halves of the draws, and upper is the mean over both orders. It is above
    log Z in expectation, since :math:`\log a \le a - 1`. The two close in on each other with S if
    the weights have a finite variance.

    Raises:
        UsageError: there are fewer than two draws.
    """
    draws = len(log_w)
    check_whole(2, draws=draws)
    a, b = (_log_mean(half) for half in np.array_split(log_w, 2))
    with np.errstate(over="ignore"):
        upper = 0.5 * (a + b + np.exp(b - a) + np.exp(a - b)) - 1
        lower = _log_mean(log_w)
        error = np.exp(log_w - lower).std(0, ddof=1) / math.sqrt(draws)
    return Normalisers(lower, upper, error, log_w)


def weigh(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    exact: bool = False,
    draws: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Weighed:
    """Sequences and draws from the noise under a random field.

    Sequences of the same length share a normaliser, or all of them if the model says so; frames of
    a model of independent frames share one too. Under conditions each has its own.

    Args:
        model: an energy model.
        guide: the noise, over observations, whose draws have weights; see
            `pyrodgm.guides.ObservationGuide.weighted`.
        sequences: a split.
        exact: whether log Z is enumerated, in the place of draws.
        draws: from the noise for each normaliser, S; 20,000 in all if not given, and at least 100.
        seed: of the draws; the global generator is left alone.
        progress: called with the share done, in [0, 1].

    Raises:
        CompatibilityError: log Z is to be exact, but cannot be enumerated.
        DataError: frames that an energy model cannot score.
        UsageError: the model is not an energy model, or draws of the guide have no weights.
    """
    field, noise = checked(model, guide)
    check_scorable(field, sequences)
    examples, owner = sequences, np.arange(len(sequences))
    if not field.of_sequences:
        examples = sequences.single(np.arange(sequences.num_frames))
        owner = owner.repeat(sequences.lengths)
    shared = isinstance(field, SequenceField) and field.log_z == "shared"
    first, groups = _groups(examples, shared=shared)
    number = max(LEAST, TOTAL // len(first)) if draws is None else draws
    check_whole(2, draws=number)
    with drawing(field, seed, "noise") as device:
        if exact:
            of_groups = _exact(field, examples.select(first))
        elif isinstance(field, SequenceField) and shared:
            of_groups = normalisers(_of_lengths(field, noise, field.lengths.draw(number)))
        else:
            of_groups = normalisers(_of_groups(field, noise, examples, first, number, progress))
        own = [np.empty(len(examples)) for _ in range(2)]
        for rows, _ in chunks(examples.lengths, 1, width=field.frame_size):
            batch = examples.batch(rows).to(device)
            log_q = noise.log_bound(batch.x, batch)
            own[0][rows] = _total(_log_ratio(field, noise, batch.x, batch, log_q), batch)
            own[1][rows] = _total(log_q, batch)
    log_q = np.bincount(owner, own[1], len(sequences))
    return Weighed(own[0], log_q, groups, owner, of_groups)


def checked(model: Model, guide: Guide) -> tuple[EnergyModel, ObservationGuide]:
    """Model and guide, if draws of the guide have importance weights under the model.

    Raises:
        UsageError: they have none.
    """
    if not isinstance(model, EnergyModel) or model.traits.by_frame:
        raise UsageError(
            f"{type(model).__name__} has no normaliser of frames or sequences that draws of "
            "observations could estimate; use --estimator exact or ais"
        )
    if not isinstance(guide, ObservationGuide):
        raise UsageError(
            "--estimator importance takes log Z from draws of a guide over observations, but this "
            f"run has {type(guide).__name__}; use --estimator ais"
        )
    if not guide.weighs:
        raise UsageError(
            f"draws of {type(guide).__name__} have no importance weights here: neither its density "
            "is known, nor an estimate of it; use --estimator ais"
        )
    return model, guide


def uses_noise(model: Model, estimator: str) -> bool:
    """Whether an estimator takes log Z from draws of the guide; fields over sequences always do."""
    return isinstance(model, EnergyModel) and (estimator == "importance" or model.of_sequences)


def choose_exact(field: EnergyModel, estimator: str) -> bool:
    """Whether an estimator stands for enumeration; "auto" does if it is possible.

    Raises:
        UsageError: it does not apply to fields with a noise distribution.
    """
    if estimator not in get_args(FieldEstimator):
        raise UsageError(
            f"estimator '{estimator}' does not apply to {type(field).__name__} with a noise "
            f"distribution; choose among {', '.join(get_args(FieldEstimator))}"
        )
    return estimator == "exact" or (estimator == "auto" and field.enumerable)


def _groups(examples: Sequences, *, shared: bool) -> tuple[np.ndarray, np.ndarray]:
    """One example of each group, (G,), and the group of every example, (E,)."""
    number = len(examples)
    if shared:
        return np.zeros(1, np.int64), np.zeros(number, np.int64)
    if examples.conditions is not None:
        return np.arange(number), np.arange(number)
    _, first, groups = np.unique(examples.lengths, return_index=True, return_inverse=True)
    return first, groups


def _of_groups(
    field: EnergyModel,
    noise: ObservationGuide,
    examples: Sequences,
    first: np.ndarray,
    draws: int,
    progress: Progress,
) -> np.ndarray:
    """Log weights of draws in the shape of one example of each group, (S, G)."""
    log_w, lengths = np.empty((draws, len(first))), examples.lengths[first]
    device = next(field.parameters()).device
    for places, part in chunks(
        lengths, draws, width=field.frame_size, frames=FRAMES_AT_ONCE, progress=progress
    ):
        number = part.stop - part.start
        batch = examples.batch(first[places]).to(device).repeated(number)
        found = _log_weights(field, noise, batch).reshape(number, -1)
        log_w[part.start : part.stop, places] = found
    return log_w


def _of_lengths(field: EnergyModel, noise: ObservationGuide, lengths: Tensor) -> np.ndarray:
    """Log weights of draws of some lengths (S,), (S, 1)."""
    log_w = np.empty((len(lengths), 1))
    for rows in evaluation_batches(lengths.cpu().numpy(), FRAMES_AT_ONCE):
        log_w[rows, 0] = _log_weights(field, noise, blank(field, lengths[torch.from_numpy(rows)]))
    return log_w


def blank(field: EnergyModel, lengths: Tensor) -> Batch:
    """A batch of sequences of some lengths without observations."""
    x = next(field.parameters()).new_zeros(len(lengths), int(lengths.max()), field.info.dim)
    mask = torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]
    return Batch(x, mask, torch.arange(len(lengths), device=x.device))


def _exact(field: EnergyModel, examples: Sequences) -> Normalisers:
    """The exact log Z of some examples, by enumeration."""
    device = next(field.parameters()).device
    log_z = np.empty(len(examples))
    for rows, _ in chunks(examples.lengths, 1, width=field.frame_size):
        batch = examples.batch(rows).to(device)
        log_z[rows] = _total(field.log_normalisers(batch), batch)
    return Normalisers(log_z, log_z, np.zeros_like(log_z), np.empty((0, len(log_z))))


def _log_weights(field: EnergyModel, noise: ObservationGuide, batch: Batch) -> np.ndarray:
    """Log weights of one draw for each sequence of a batch, (B,)."""
    if noise.traits.has_density:  # of which a residual field has no need
        return _total(field.log_ratio(noise.draw(batch), batch, noise), batch)
    x, log_q = noise.weighted(batch)
    return _total(_log_ratio(field, noise, x, batch, log_q), batch)


def _log_ratio(
    field: EnergyModel, noise: ObservationGuide, x: Tensor, batch: Batch, log_q: Tensor
) -> Tensor:
    """The log of the field relative to the noise by frame, (B, T), of which log_q is known."""
    if noise.traits.has_density:
        return field.log_ratio(x, batch, noise)
    return field.potential(x, batch) - log_q


def _total(nats: Tensor, batch: Batch) -> np.ndarray:
    """The sum over frames, (B,), in double precision."""
    return nats.masked_fill(~batch.mask, 0.0).double().sum(-1).cpu().numpy()


def _log_mean(log_w: np.ndarray) -> np.ndarray:
    """The log of the mean of weights, (S, G) to (G,)."""
    highest = log_w.max(0)
    return highest + np.log(np.exp(log_w - highest).mean(0))
