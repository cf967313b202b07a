"""Log-likelihoods of models with latents by annealed importance sampling.

Forward chains give a lower bound for any data. For simulated data, whose latents are draws from the
posterior, reverse chains give an upper bound too, and the two bracket the log-likelihood.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from pyrodgm.arguments import check_whole
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.display import counted, json_number
from pyrodgm.engine.draws import simulate_like
from pyrodgm.engine.frozen import frozen
from pyrodgm.errors import ChainWarning, CompatibilityError, NonFiniteError
from pyrodgm.evaluate.likelihood.annealing import forward_weights, reverse_weights
from pyrodgm.evaluate.likelihood.latent_path import LatentPath, refuse_without_path
from pyrodgm.evaluate.passes import FRAMES_AT_ONCE, Progress, drawing, silent
from pyrodgm.guides import Guide
from pyrodgm.models import Model, StepModel
from pyrodgm.tables import Measured

CHAINS, TEMPERATURES = 16, 500
TUNING = 4  # chains by which step sizes are chosen
SLUGGISH = 0.1  # acceptance below which a chain hardly moves

Start = Literal["prior", "guide"]


@dataclass(frozen=True)
class Chains:
    """The chains of every sequence.

    Args:
        chains: their number, K.
        temperatures: steps of each, n.
        start: where they start, "prior" or "guide".
    """

    chains: int = CHAINS
    temperatures: int = TEMPERATURES
    start: Start = "prior"


@dataclass(frozen=True)
class Simulated:
    """Bounds on the log-likelihood of simulated sequences, whose posterior draws are known.

    Args:
        lower: by forward chains, nats of each sequence, (N,).
        upper: by reverse chains from the latents that a sequence was simulated with, (N,).
    """

    lower: np.ndarray
    upper: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: means over sequences; the standard error of one is null."""
        width, count = self.upper - self.lower, len(self.lower)
        error = float(width.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
        return {
            "examples": count,
            "lower_nats_per_example": float(self.lower.mean()),
            "upper_nats_per_example": float(self.upper.mean()),
            "width_nats_per_example": float(width.mean()),
            "standard_error_width": json_number(error),
        }

    def text(self) -> str:
        """The bracket in words."""
        found = self.to_dict()
        width, error = found["width_nats_per_example"], found["standard_error_width"]
        return (
            f"On {counted(found['examples'], 'sequence')} simulated from the model, the "
            f"log-likelihood is at least {found['lower_nats_per_example']:.2f} nats per sequence "
            f"by forward chains and at most {found['upper_nats_per_example']:.2f} by reverse "
            f"chains from the latents, in expectation: {_bracket(width, error)} "
            "Real data can be harder for the chains than simulated data."
        )


def _bracket(width: float, error: float | None) -> str:
    """The width of a bracket in words; it is negative where errors are larger than it.

    >>> _bracket(0.5, 0.1)
    'a bracket of 0.50 nats (standard error 0.10). More --temperatures narrow it.'
    >>> _bracket(-0.05, 0.06)
    'the first is 0.05 nats above the second (standard error 0.06): they agree.'
    >>> _bracket(-0.5, 0.1)
    'the first is 0.50 nats above the second (standard error 0.10): give more --chains.'
    """
    within = "" if error is None else f" (standard error {error:.2f})"
    if width >= 0:
        return f"a bracket of {width:.2f} nats{within}. More --temperatures narrow it."
    agree = error is not None and -width < 3 * error
    above = f"the first is {-width:.2f} nats above the second{within}"
    return f"{above}: they agree." if agree else f"{above}: give more --chains."


@dataclass(frozen=True)
class Annealed:
    """Log-likelihoods by annealed importance sampling.

    Args:
        nats: lower bound of every sequence, (N,).
        acceptance: mean probability with which transitions were accepted, of every sequence, (N,).
        chains: how they were computed.
        simulated: the bracket on simulated sequences; None if there are none.
        whole: the mean over all sequences of the data, in nats of each, where these are some of
            them; see `by_regression`.
    """

    nats: np.ndarray
    acceptance: np.ndarray
    chains: Chains
    simulated: Simulated | None = None
    whole: Measured | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, without the bound itself."""
        acceptance = float(self.acceptance.mean())
        bracket = None if self.simulated is None else self.simulated.to_dict()
        whole = None if self.whole is None else self.whole._asdict()
        found = {**asdict(self.chains), "acceptance": acceptance, "simulated": bracket}
        return {**found, "all_sequences_nats_per_example": whole}

    def text(self) -> str:
        """Sentences that explain the numbers."""
        how = (
            f"Lower bound by {counted(self.chains.chains, 'chain')} of {self.chains.temperatures} "
            f"temperatures from the {self.chains.start}; {100 * self.acceptance.mean():.0f} % of "
            "the transitions were accepted."
        )
        parts = [how] if self.simulated is None else [how, self.simulated.text()]
        if self.whole is not None:
            parts.append(
                f"Over all sequences of the split it is {self.whole.value:.2f} nats per sequence "
                f"(standard error {self.whole.error:.2f}), by regression on a "
                "cheaper score of each by the guide."
            )
        return "\n".join(parts)


def annealed(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    chains: Chains | None = None,
    *,
    simulated: int = 0,
    seed: int = 0,
    progress: Progress = silent,
) -> Annealed:
    r"""Stochastic lower bounds on log p(x), and a bracket on simulated sequences.

    .. math:: \log \frac1K \sum_k w_k, \qquad \mathrm{E}\, w_k = p(x)

    with the weights of chains along a `LatentPath`. The bound is below log p(x) in expectation, and
    exceeds it by a nats with probability at most :math:`e^{-a}`. Reverse chains from the latents of
    a simulated sequence have :math:`\mathrm{E}\, 1/w_k = 1/p(x)`, and so
    :math:`-\log \frac1K \sum_k 1/w_k` is above log p(x) in expectation.

    Step sizes are chosen for every sequence and temperature in a first run of four chains, aiming
    at an acceptance of 0.65, and do not change in the runs that give the weights.

    Args:
        model: the model p, with latents of any kind; classes are one-hot codings.
        guide: where chains start, if they start at the guide.
        sequences: N of them.
        chains: their number, temperatures and start.
        simulated: number of simulated sequences, with the lengths and conditions of these.
        seed: of all draws; the global generator is left alone.
        progress: called with the share done, in [0, 1].

    Raises:
        UsageError: no chains or temperatures.
        CompatibilityError: a model or guide without such a path.
        NonFiniteError: a weight that is not a number, or a sequence whose weights are all zero.

    Warns:
        ChainWarning: chains hardly move.

    Reference: Neal, Annealed importance sampling, 2001; Grosse, Ghahramani and Adams, Sandwiching
    the marginal likelihood using bidirectional Monte Carlo, 2015; Wu, Burda, Salakhutdinov and
    Grosse, On the quantitative analysis of decoder-based generative models, 2017.
    """
    chains = chains or Chains()
    run = _Run(model, guide if chains.start == "guide" else None, chains)
    run.refuse(simulated)
    real = len(sequences) / (len(sequences) + 2 * simulated)
    with _sampling(model, guide, seed, "annealing"):
        nats, _, acceptance = run.bounds(sequences, lambda share: progress(real * share))
    _warn_if_stuck(acceptance)
    if not simulated:
        return Annealed(nats, acceptance, chains)
    like = sequences.select(np.arange(simulated) * len(sequences) // simulated)
    with _sampling(model, guide, seed, "annealing of simulated sequences"):
        lower, upper, _ = run.bounds(
            like, lambda share: progress(real + (1 - real) * share), simulates=True
        )
    return Annealed(nats, acceptance, chains, Simulated(lower, upper))


@contextmanager
def _sampling(model: Model, guide: Guide, seed: int, stream: str) -> Iterator[None]:
    """Draw from a stream of its own; gradients are those of the latents alone."""
    with drawing(model, seed, stream), frozen([*model.parameters(), *guide.parameters()]):
        yield


@dataclass(frozen=True)
class _Run:
    """Chains of a model; `guide` is where they start, if not at the prior."""

    model: Model
    guide: Guide | None
    chains: Chains

    def refuse(self, simulated: int) -> None:
        """Raise if there is no path, or a number is wrong."""
        chains, name = self.chains, type(self.model).__name__
        check_whole(chains=chains.chains, temperatures=chains.temperatures)
        check_whole(0, simulated=simulated)
        refuse_without_path(self.model, self.guide)
        if simulated and not isinstance(self.model, StepModel):
            raise CompatibilityError(
                f"{name} is not defined frame by frame, and cannot be simulated in the shape of "
                "the data; give --simulated 0 for the lower bound alone"
            )

    def bounds(
        self, sequences: Sequences, progress: Progress, *, simulates: bool = False
    ) -> np.ndarray:
        """Lower bounds, upper bounds of simulated sequences, and acceptance, (3, N)."""
        found = np.full((3, len(sequences)), math.nan)
        device = next(self.model.parameters()).device
        frames = max(1, FRAMES_AT_ONCE // self.chains.chains)
        portions = evaluation_batches(sequences.lengths, frames)
        for i, rows in enumerate(portions):

            def share(done: float, i: int = i) -> None:
                progress((i + done) / len(portions))

            batch = sequences.batch(rows).to(device)
            latents = None
            if simulates:
                latents, batch = simulate_like(cast("StepModel", self.model), batch)
            found[:, rows] = self._of_batch(batch, latents, share)
        return found

    def _of_batch(
        self, batch: Batch, latents: Mapping[str, Tensor] | None, progress: Progress
    ) -> np.ndarray:
        """The same for a batch: a run that tunes, a forward run, and one from given latents."""
        count, n = self.chains.chains, self.chains.temperatures
        runs = 2 if latents is None else 3
        path = LatentPath(self.model, batch, n, self.guide)
        forward_weights(path, min(TUNING, count), n, progress=lambda s: progress(s / runs))
        path.learning = False
        log_w = forward_weights(path, count, n, progress=lambda s: progress((1 + s) / runs))
        lower, accepted = _log_mean(log_w), path.accepted()
        _refuse_zero(lower, batch)
        upper = lower * math.nan
        if latents is not None:
            ends = path.joined(latents).expand(count, -1, -1, -1)
            log_w = reverse_weights(path, ends, n, progress=lambda s: progress((2 + s) / runs))
            upper = -_log_mean(-log_w)
        return torch.stack([lower, upper, accepted.double()]).cpu().numpy()


def _log_mean(log_w: Tensor) -> Tensor:
    """The log of the mean weight over chains, (B,)."""
    return log_w.logsumexp(0) - math.log(len(log_w))


def _refuse_zero(lower: Tensor, batch: Batch) -> None:
    """Raise if all chains of a sequence have weight zero."""
    lost = (~lower.isfinite()).nonzero()
    if len(lost):
        raise NonFiniteError(
            f"all chains of sequence {int(batch.index[lost[0]])} have weight zero: its probability "
            "is too small for chains that start there; use more chains, or --start guide"
        )


def _warn_if_stuck(acceptance: np.ndarray) -> None:
    """Warn if transitions of some sequences are hardly ever accepted."""
    stuck = np.flatnonzero(acceptance < SLUGGISH)
    if len(stuck):
        warnings.warn(
            f"{100 * acceptance[stuck].mean():.2g} % of the transitions of chains were accepted on "
            f"{len(stuck)} of {len(acceptance)} sequences (first: {stuck[0]}): these chains hardly "
            "move, and the bound is loose there; give more --temperatures, or --start guide",
            ChainWarning,
            stacklevel=3,
        )
