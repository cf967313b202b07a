"""The annealing path of the latents of a batch, from a distribution that can be drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.draws import draw, score
from pyrodgm.engine.sites import Kind
from pyrodgm.errors import CompatibilityError, NonFiniteError
from pyrodgm.evaluate.likelihood.transitions import transition
from pyrodgm.guides import Guide
from pyrodgm.models import Model

SLOPE = 4.0  # of the schedule: most temperatures are near the ends
ACCEPTANCE, RATE = 0.65, 0.2  # wanted, and how fast step sizes follow
FIRST_STEP = {"continuous": math.log(0.3), "binary": 0.0, "categorical": 0.0}


class LatentPath:
    r"""Annealing of the latents of every sequence of a batch to their posterior.

    .. math:: \phi_\beta(z) = (1 - \gamma) \log p_0(z) + \gamma \log p(x, z), \qquad
        \gamma = \frac{\sigma(8 \beta - 4) - \sigma(-4)}{\sigma(4) - \sigma(-4)}

    with :math:`p_0` the prior, in models of sequences :math:`\prod_t p(z_t \mid z_{<t}, x_{<t})`,
    or the guide. The normalisers are 1 at the start and p(x) at the end. States are the latent
    sites side by side, (K, B, T, J).

    Args:
        model: the model p.
        batch: B sequences.
        temperatures: n.
        guide: where the path starts, if not at the prior.

    Attributes:
        log_steps: logarithms of step sizes, by kind of latents, temperature and sequence, (n, B).
        learning: whether the step sizes follow the acceptance from one temperature to the next.
        acceptance: mean probability of acceptance by kind, temperature and sequence, (n, B).

    Reference: Wu, Burda, Salakhutdinov and Grosse, On the quantitative analysis of decoder-based
    generative models, 2017.
    """

    def __init__(
        self, model: Model, batch: Batch, temperatures: int, guide: Guide | None = None
    ) -> None:
        self.model, self.batch, self.guide = model, batch, guide
        self.temperatures, self.learning = temperatures, True
        kinds: set[Kind] = {site.kind for site in model.latents.values()}
        each = batch.x.new_zeros(temperatures + 1, batch.size)
        self.log_steps = {kind: each + FIRST_STEP[kind] for kind in sorted(kinds)}
        self.acceptance = {kind: torch.ones_like(step) for kind, step in self.log_steps.items()}
        sites = list(model.latents.values())
        self._transitions = {kind: transition(kind, sites, batch.x) for kind in kinds}

    def log_normaliser(self) -> Tensor:
        """Zero: the start is normalised."""
        return self.batch.x.new_zeros((), dtype=torch.float64)

    def start(self, num: int) -> Tensor:
        """Independent draws from the prior or the guide, (num, B, T, J)."""
        first = self.model if self.guide is None else self.guide
        return self.joined(draw(first, self.batch, num, pathwise=False).values)

    def log_ratio(self, x: Tensor, low: float, high: float) -> Tensor:
        """The potential at beta = high minus that at beta = low, (num, B).

        Raises:
            NonFiniteError: it is not a number, or infinite.
        """
        start, end = self._ends(x)
        ratio = (_at(high) - _at(low)) * (end - start).double()
        wrong = (ratio.isnan() | (ratio == math.inf)).any(0)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise NonFiniteError(
                f"the weight of a chain for sequence {int(self.batch.index[row])} is "
                f"{float(ratio[:, row].max())} nats at temperature "
                f"{round(high * self.temperatures)} of {self.temperatures}: its log-density is not "
                "finite; check the parameters of the model and the values of this sequence"
            )
        return ratio

    def move(self, x: Tensor, beta: float) -> Tensor:
        """A transition of every kind of latents given the others, in a random order."""
        gamma, k = _at(beta), round(beta * self.temperatures)

        def log_density(z: Tensor) -> Tensor:
            start, end = self._ends(z)
            return (1 - gamma) * start + gamma * end

        kinds = list(self.log_steps)
        for place in torch.randperm(len(kinds)).tolist():
            kind = kinds[place]
            step = self.log_steps[kind][k]
            x, accepted = self._transitions[kind](log_density, x, step)
            self._record(kind, k, accepted.mean(0))
        return x

    def _record(self, kind: str, k: int, accepted: Tensor) -> None:
        """Store the acceptance of a temperature, and choose the step sizes of the next one."""
        self.acceptance[kind][k] = accepted
        if self.learning:
            change = RATE * (accepted - ACCEPTANCE)
            self.log_steps[kind][k + 1] = self.log_steps[kind][k] + change

    def accepted(self) -> Tensor:
        """Mean acceptance over temperatures, of the kind where it is lowest, (B,)."""
        used = slice(1, max(2, self.temperatures))
        return torch.stack([each[used].mean(0) for each in self.acceptance.values()]).amin(0)

    def joined(self, values: Mapping[str, Tensor]) -> Tensor:
        """Values of the latent sites side by side, (K, B, T, J)."""
        return torch.cat([values[name] for name in self.model.latents], -1)

    def _ends(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The log-density at the start of the path and the joint at its end, (K, B)."""
        parts = z.split([site.dim for site in self.model.latents.values()], -1)
        values = dict(zip(self.model.latents, parts, strict=True))
        p = score(self.model, self.batch, values)
        q = p if self.guide is None else score(self.guide, self.batch, values)
        start = torch.stack([q[name].sum(-1).expand(z.shape[:2]) for name in values]).sum(0)
        end = torch.stack([nats.sum(-1).expand(z.shape[:2]) for nats in p.values()]).sum(0)
        return start, end


def _at(beta: float) -> float:
    """The weight of the joint at beta: slow near the ends.

    >>> _at(0.0), _at(0.5), _at(1.0)
    (0.0, 0.5, 1.0)
    """
    low, high = _sigmoid(-SLOPE), _sigmoid(SLOPE)
    return (_sigmoid(SLOPE * (2 * beta - 1)) - low) / (high - low)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def refuse_without_path(model: Model, guide: Guide | None) -> None:
    """Raise if the latents of a model cannot be annealed.

    Args:
        model: the model p.
        guide: where the path starts, if not at the prior.

    Raises:
        CompatibilityError: there are no latents, no density, or latents that no transition moves.
    """
    name = type(model).__name__
    if model.traits.latents == "none" and model.traits.density != "none":
        raise CompatibilityError(
            f"{name} has no latents to anneal: its log-likelihood is exact; use --estimator exact"
        )
    if model.traits.density != "normalised":
        raise CompatibilityError(
            f"{name} has no density that can be computed, and annealing needs one"
        )
    sites = model.latents.items()
    symbols = [each for each, s in sites if s.kind == "categorical" and not s.classes]
    if symbols:
        raise CompatibilityError(
            f"{name} has categorical latents ({', '.join(symbols)}) whose values are symbols, and "
            "ais moves classes as one-hot codings alone; use --estimator iwae with --particles, or "
            "fivo for sequences"
        )
    if guide is not None and guide.traits.codebook:
        raise CompatibilityError(
            f"{type(guide).__name__} has no randomness, and chains that start there cannot reach "
            "the posterior; use --start prior"
        )
    if guide is not None and (not guide.traits.has_density or guide.traits.auxiliary != "none"):
        raise CompatibilityError(
            f"{type(guide).__name__} gives no density of the latents alone, so that chains cannot "
            "start there; use --start prior"
        )
