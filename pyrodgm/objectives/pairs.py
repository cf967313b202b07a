"""Games whose critic sees pairs of an observation and its latents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, NamedTuple, TypedDict

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import draw, simulate
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.pair_critics import PairCritic
from pyrodgm.networks.pictures import Network
from pyrodgm.objectives.base import Loss, Needs, Phase
from pyrodgm.objectives.critic_term import logistic
from pyrodgm.objectives.game import (
    ACCURACY,
    Game,
    accuracy,
    complete,
    explodes,
    frame_mean,
    per_sequence,
    refuse_missing,
    wins,
)
from pyrodgm.objectives.optimizer import Decay, OptimizerOptions, Positive
from pyrodgm.objectives.pathwise import Pixels, drawable, surrogate_of
from pyrodgm.objectives.reconstructed import ACTIVE_UNITS, RECONSTRUCTION, validated
from pyrodgm.objectives.slope import BoundKind, SlopeBound

EXCESS = "slope_excess"
DIFFERENCE = "critic_difference"
Size = Annotated[int, Field(ge=1)]
# The model may be one without a density; latents carry gradients.
NEEDS = Needs(
    latents=frozenset({"continuous"}),
    reparameterised=True,
    has_density=None,
    sequential=False,
    density=frozenset({"normalised", "none"}),
    auxiliary=False,
)


class PairOptions(TypedDict, total=False):
    """Options of the game, which constructors of objectives pass on to `PairGame`."""

    critic_steps: Size
    generator_steps: Size
    pixels: Pixels | None
    critic: Network
    critic_dim: LayerSizes
    critic_lr: Positive
    critic_betas: tuple[Decay, Decay]
    bound: BoundKind
    bound_by: Positive | None


class Pair(NamedTuple):
    """An observation and its latents, of one joint distribution.

    Args:
        x: (1, B, T, D).
        latents: by site, (1, B, T, J).
    """

    x: Tensor
    latents: Mapping[str, Tensor]


class PairGame(Game):
    r"""A critic that separates pairs (x, z) of q(x, z) = q(x) q(z | x) and p(x, z) = p(z) p(x | z).

    .. math::
        \text{critic: } & \min_V \; E_q\, \mathrm{softplus}(-V(x, z))
            + E_p\, \mathrm{softplus}(V(x, z)), \qquad
            V^* = \log \frac{q(x, z)}{p(x, z)} \\
        \text{model and guide: } & \min_{p, q} \; E\, a\big(V(x_q, z_q), V(x_p, z_p)\big)

    where q(x) is the distribution of the data, and a is set by the game. Gradients of the second
    line flow through z of q and through x of p. Neither density is needed, only draws. Every turn
    has a batch of its own.

    Draws of bits carry no gradient: here they pass on that of their mean (straight-through), which
    is biased. Published code gives the critic their means, and compares these with grey pictures;
    ``pixels="means"`` does so, and is the default for grey data. Means of bits compared with black
    and white data give the game away, since no mean is a bit.

    What is reported is an estimate by the critic, and no bound. Weights are chosen by the
    log-likelihood where the model has a density and at most two latents; otherwise they are the
    last ones, and validation reports the squared error of reconstructions, z of q and x of p given
    z, without any part in the choice.

    Args:
        model: the model p, of rows.
        guide: the guide q, with a density or without one; its draws carry gradients.
        critic_steps: turns of the critic per step.
        generator_steps: turns of model and guide per step.
        pixels: of binary or grey data, what the critic sees of the model's bits:
            "straight-through" or "means".
        critic: its network, "dense"; or, for pictures, "conv", or channels of convolutions.
        critic_dim: rectified units of every hidden layer of the critic; a number is a single layer.
        critic_lr: learning rate of the critic; that of model and guide is fit.lr.
        critic_betas: of the critic's Adam; those of model and guide are fit.betas.
        bound: on the slope of the critic: see `SlopeBound`.
        bound_by: its size.

    Raises:
        UsageError: pixels of data that has none.
        CompatibilityError: a model whose observations cannot be drawn with gradients.
    """

    critic: PairCritic
    needs: ClassVar[Needs] = NEEDS
    shown: ClassVar[tuple[str, ...]] = (ACCURACY, RECONSTRUCTION, ACTIVE_UNITS)
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"lr": 1e-3, "betas": (0.5, 0.999), "batch_size": 128, "evaluate_every": 500}
    )

    def __init__(  # noqa: PLR0913 - the signature is the schema of the options
        self,
        model: Model,
        guide: Guide,
        *,
        critic_steps: Size = 1,
        generator_steps: Size = 1,
        pixels: Pixels | None = None,
        critic: Network = "dense",
        critic_dim: LayerSizes = (256, 256),
        critic_lr: Positive = 1e-3,
        critic_betas: tuple[Decay, Decay] = (0.5, 0.999),
        bound: BoundKind = "none",
        bound_by: Positive | None = None,
    ) -> None:
        super().__init__(
            drawable(model),
            guide,
            PairCritic(model.info, model.latents, critic_dim, network=critic),
            steps=critic_steps,
            optimizer=OptimizerOptions(lr=critic_lr, betas=critic_betas),
            bound=SlopeBound(bound, bound_by),
        )
        self.generator_steps = generator_steps
        self.surrogate = surrogate_of(model, pixels)

    @abstractmethod
    def adversary(self, of_q: Tensor, of_p: Tensor) -> Tensor:
        """What model and guide minimise, a(V(x_q, z_q), V(x_p, z_p)), elementwise."""

    @abstractmethod
    def estimate(self, of_q: Tensor, of_p: Tensor) -> Tensor:
        """The estimate of the divergence of the pairs that is reported, elementwise."""

    def phases(self) -> tuple[Phase, ...]:
        """The critic's turns, then those of model and guide together."""
        both = (self.model, self.guide)
        turns = {"repeats": self.generator_steps, "fresh": True}
        return self.critic_phase(), Phase("model and guide", both, self.pair_loss, **turns)

    def begin(self, training: Sequences) -> None:
        """Refuse rows with missing values.

        Raises:
            DataError: values are missing.
        """
        refuse_missing(training)

    def of_data(self, batch: Batch) -> Pair:
        """Data, and latents of the guide."""
        return Pair(batch.x[None], draw(self.guide, batch).values)

    def of_model(self, batch: Batch) -> Pair:
        """Latents of the prior, and observations given them."""
        found = simulate(
            drawable(self.model), batch, pathwise=True, surrogate=self.surrogate
        ).values
        (name,) = self.model.observed
        return Pair(found[name], {site: found[site] for site in self.model.latents})

    def reconstructed(self, pair: Pair, batch: Batch) -> Tensor:
        """Draws of x given the latents of pairs, (1, B, T, D)."""
        given = {"given": pair.latents, "pathwise": True, "surrogate": self.surrogate}
        (x,) = simulate(drawable(self.model), batch, **given).values.values()
        return x

    def critic_loss(self, batch: Batch) -> Loss:
        """The logistic loss of separating the pairs, and the penalty on the slope, if any."""
        with torch.no_grad():
            q, p = self.of_data(batch), self.of_model(batch)
        of_q, of_p = self.critic(*q, batch), self.critic(*p, batch)
        numbers = {**self.numbers(of_q, of_p), "critic_loss": logistic(of_q, of_p)}
        report = {name: frame_mean(each, batch) for name, each in numbers.items()}
        loss = report["critic_loss"]
        if self.bound.penalises:
            between = self.critic.seen(*q), self.critic.seen(*p)
            excess = self.bound.excess(lambda seen: self.critic.of_seen(seen, batch), *between)
            report[EXCESS] = frame_mean(excess, batch)
            loss = loss + self.bound.size * report[EXCESS]
        detached = {name: each.detach() for name, each in report.items()}
        return Loss(per_sequence(loss, batch), detached)

    def numbers(self, of_q: Tensor, of_p: Tensor) -> dict[str, Tensor]:
        """What is reported of the critic, elementwise."""
        return {self.headline: self.estimate(of_q, of_p), ACCURACY: accuracy(of_q, of_p)}

    def pair_loss(self, batch: Batch) -> Loss:
        """What model and guide minimise; its value has no meaning."""
        q, p = self.of_data(batch), self.of_model(batch)
        adversary = self.adversary(self.critic(*q, batch), self.critic(*p, batch))
        more, report = self.regularised(q, p, batch)
        return Loss(per_sequence(frame_mean(adversary, batch) + more, batch), report)

    def regularised(self, q: Pair, p: Pair, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What is added to the loss of model and guide, a scalar, and what is reported of it."""
        del q, p
        return batch.x.new_zeros(()), {}

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The critic's estimate and reconstructions on held-out rows; quadrature if possible.

        A failing game is named in a `CriticWarning`, once.
        """
        found = self._held_out(complete(sequences), seed)
        self.watch.see([
            explodes(found.pop(DIFFERENCE)),
            wins(found[ACCURACY], between="pairs of the guide and of the model"),
        ])  # fmt: skip
        return validated(self.model, self.guide, sequences, found, shown=self.shown, seed=seed)

    def _held_out(self, sequences: Sequences, seed: int) -> dict[str, float]:
        """Means over held-out rows of one pair each."""
        total: dict[str, float] = {}
        with drawing(self.model, seed, type(self).__name__.lower()) as device:
            for rows, _ in chunks(sequences.lengths, 1, width=self.model.frame_size):
                batch = sequences.batch(rows).to(device)
                of_q = self.critic(*self.of_data(batch), batch)
                of_p = self.critic(*self.of_model(batch), batch)
                each = {**self.numbers(of_q, of_p), DIFFERENCE: of_q - of_p}
                for name, value in each.items():
                    total[name] = total.get(name, 0.0) + float((value * batch.mask).sum())
        return {name: number / sequences.num_frames for name, number in total.items()}
