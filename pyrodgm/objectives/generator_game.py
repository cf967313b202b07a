"""Games of a generator and a critic that compares its draws with data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypedDict, cast

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import CompatibilityError
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.evaluate.resemblance import resemblance
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.models.implicit import Generator
from pyrodgm.networks.critics import Critic
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.objectives.base import Loss, Needs, Phase
from pyrodgm.objectives.divergences import Divergence
from pyrodgm.objectives.game import (
    ACCURACY,
    Game,
    accuracy,
    collapses,
    explodes,
    refuse_missing,
    wins,
)
from pyrodgm.objectives.optimizer import Decay, OptimizerOptions, Positive
from pyrodgm.objectives.slope import SlopeBound

EXCESS = "slope_excess"


class CriticOptions(TypedDict, total=False):
    """The options of the critic, which constructors of games pass on to `GeneratorGame`."""

    critic_dim: LayerSizes
    critic_lr: Positive
    critic_betas: tuple[Decay, Decay]


class GeneratorGame(Game):
    r"""A generator g against a critic V of its draws, over a divergence in variational form.

    .. math::
        \text{critic: } & \max_V \; F(V, g) = E\, a(V(x)) - E\, b(V(g(\epsilon))) \\
        \text{generator: } & \min_g \; -E\, b(V(g(\epsilon))), \quad
            \text{or directly } -E\, a(V(g(\epsilon)))

    with a and b of a `Divergence`, set by the game. Frames are compared individually.

    Args:
        model: the generator.
        guide: the guide "none".
        bound: on the critic's slope.
        critic_steps: turns of the critic per step.
        critic_dim: rectified units of every hidden layer of the critic; a number is a single layer.
        critic_lr: learning rate of the critic; that of the generator is fit.lr.
        critic_betas: of the critic's Adam; those of the generator are fit.betas.

    A constructor passes the last three on as ``**critic: Unpack[CriticOptions]``.

    Raises:
        CompatibilityError: the model is not a generator.
    """

    critic: Critic
    divergence: Divergence
    direct: bool = False  # whether the generator follows a in the place of b
    classifies: ClassVar[bool] = True  # whether the sign of V tells data from draws
    shown: ClassVar[tuple[str, ...]] = (ACCURACY, "draws_coverage")
    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"none"}),
        has_density=None,
        sequential=False,
        density=frozenset({"none"}),
    )
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"lr": 1e-3, "betas": (0.0, 0.9), "batch_size": 64}
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        bound: SlopeBound,
        critic_steps: int,
        *,
        critic_dim: LayerSizes = (128, 128),
        critic_lr: Positive = 1e-3,
        critic_betas: tuple[Decay, Decay] = (0.0, 0.9),
    ) -> None:
        if not isinstance(model, Generator):
            raise CompatibilityError(
                f"{type(self).__name__} needs draws that carry gradients, but "
                f"{type(model).__name__} is not a generator; derive it from "
                "pyrodgm.models.Generator"
            )
        critic = Critic(model.info, critic_dim)
        adam = OptimizerOptions(lr=critic_lr, betas=critic_betas)
        super().__init__(model, guide, critic, steps=critic_steps, optimizer=adam, bound=bound)

    @property
    def generator(self) -> Generator:
        """The model, whose draws carry gradients."""
        return cast("Generator", self.model)

    def phases(self) -> tuple[Phase, ...]:
        """The critic's turns, then the generator's."""
        return self.critic_phase(), Phase("generator", (self.model,), self.generator_loss)

    def begin(self, training: Sequences) -> None:
        """Refuse rows with missing values.

        Raises:
            DataError: values are missing.
        """
        refuse_missing(training, type(self).__name__.lower())

    def critic_loss(self, batch: Batch) -> Loss:
        """Minus the variational value, and the gradient penalty between draws and data."""
        with torch.no_grad():
            draws = self.generator.draw(batch)[0]
        data, draws = self.critic.inputs(batch.x), self.critic.inputs(draws)
        of_data, of_draws = self.critic.of_inputs(data), self.critic.of_inputs(draws)
        report = {
            name: frame_mean(each, batch) for name, each in self.numbers(of_data, of_draws).items()
        }
        loss = -report[self.headline]
        if self.bound.penalises:
            excess = frame_mean(self.bound.excess(self.critic.of_inputs, data, draws), batch)
            loss, report[EXCESS] = self.bound.size * excess + loss, excess
        return Loss(loss, {name: each.detach() for name, each in report.items()})

    def numbers(self, of_data: Tensor, of_draws: Tensor) -> dict[str, Tensor]:
        """What is reported of the critic at data and at as many draws, (...) each."""
        value = {self.headline: self.divergence.value(of_data, of_draws)}
        return value | ({ACCURACY: accuracy(of_data, of_draws)} if self.classifies else {})

    def generator_loss(self, batch: Batch) -> Loss:
        """What the generator minimises; its value alone has no meaning."""
        follow = self.divergence.first if self.direct else self.divergence.second
        of_draws = self.critic(self.generator.draw(batch)[0])
        return Loss(-frame_mean(follow(of_draws), batch), {})

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The critic's estimate on held-out rows, and how draws resemble them, without a score.

        A failing game is named in a `CriticWarning`, once.
        """
        found = self._held_out(sequences, seed)
        alike = resemblance(self.generator, sequences, self.critic.inputs, seed=seed)
        self.watch.see([
            explodes(found[self.headline]),
            wins(found[ACCURACY]) if self.classifies else None,
            None if alike is None else collapses(*alike),
        ])  # fmt: skip
        numbers = found | ({} if alike is None else alike._asdict())
        return Validation(numbers=numbers, shown=self.shown)

    def _held_out(self, sequences: Sequences, seed: int) -> dict[str, float]:
        """What the critic says of held-out rows and of as many draws."""
        total: dict[str, float] = {}
        with drawing(self.model, seed, type(self).__name__.lower()) as device:
            for rows, _ in chunks(sequences.lengths, 1, width=self.generator.frame_size):
                batch = sequences.batch(rows).to(device)
                draws = self.generator.draw(batch)[0]
                for name, each in self.numbers(self.critic(batch.x), self.critic(draws)).items():
                    total[name] = total.get(name, 0.0) + float((each * batch.mask).sum())
        return {name: number / sequences.num_frames for name, number in total.items()}


def frame_mean(values: Tensor, batch: Batch) -> Tensor:
    """The mean over the frames of a batch of values (B, T), without padding."""
    return (values * batch.mask).sum() / batch.mask.sum()
