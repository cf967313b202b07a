"""Draws of a generator in a game, and how they carry the gradient of what a critic says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.errors import UsageError
from pyrodgm.models.implicit import BitGenerator, Generator, hard
from pyrodgm.objectives.schedule import Fixed, Schedule

BitGradient = Literal["straight-through", "relaxed", "score"]
Value = Callable[[Tensor], Tensor]


class Draws:
    """Draws that are a function of noise, through which gradients go.

    Args:
        generator: the model.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def __call__(self, batch: Batch) -> Tensor:
        """One draw in the shape of a batch, (B, T, D), zero in padding."""
        return self.generator.draw(batch)[0]

    def followed(self, value: Value, batch: Batch) -> Tensor:
        """A surrogate (B, T) whose gradient by the generator is that of the value of a draw.

        Args:
            value: of draws (B, T, D), (B, T).
            batch: in whose shape they are drawn.
        """
        return value(self(batch))


class RelaxedDraws(Draws):
    """Bits that are relaxed to numbers between zero and one, or that pass on their gradient.

    Args:
        generator: of bits.
        temperature: of the relaxation.
        rounded: whether draws are bits.
    """

    def __init__(
        self, generator: BitGenerator, temperature: Fixed | Schedule, *, rounded: bool
    ) -> None:
        super().__init__(generator)
        self.of, self.temperature, self.rounded = generator, temperature, rounded

    def __call__(self, batch: Batch) -> Tensor:
        """One draw in the shape of a batch, (B, T, D), zero in padding."""
        noise = self.of.noise(batch)[0]
        relaxed = self.of.relaxed(noise, batch, self.temperature())
        drawn = hard(relaxed) if self.rounded else relaxed
        return drawn.masked_fill(~batch.mask[..., None], 0.0)


class ScoreDraws(Draws):
    r"""Bits whose gradient is that of their log-probability, times their value.

    .. math:: \nabla E\, r(x) = E\, (r(x_i) - \bar r_{\ne i}) \nabla \log p(x_i \mid \epsilon_i)

    The mean :math:`\bar r_{\ne i}` is over the other frames of the batch, which are drawn
    independently.

    Args:
        generator: of bits.
    """

    def __init__(self, generator: BitGenerator) -> None:
        super().__init__(generator)
        self.of = generator

    def followed(self, value: Value, batch: Batch) -> Tensor:
        """The surrogate of the equation, (B, T)."""
        noise = self.of.noise(batch)[0]
        with torch.no_grad():
            x = self.of.values(noise, batch)["x"]
            reward = value(x) * batch.mask
            others = (reward.sum() - reward) / (batch.mask.sum() - 1).clamp(min=1)
        return (reward - others) * self.of.log_prob(x, noise, batch)


def refuse_unless_relaxed(
    generator: Generator, gradient: BitGradient | None, temperature: object
) -> None:
    """Raise where a temperature other than 1 is given, and no bits are relaxed.

    Raises:
        UsageError: it is.
    """
    relaxed = isinstance(generator, BitGenerator) and generator.bits and gradient != "score"
    if temperature != 1 and not relaxed:
        raise UsageError(
            f"temperature is {temperature}, but no draws of {type(generator).__name__} are relaxed "
            "bits; leave objective.temperature out"
        )


def drawing_of(
    generator: Generator, gradient: BitGradient | None, temperature: Fixed | Schedule
) -> Draws:
    """How a generator is drawn from in a game.

    Args:
        generator: the model.
        gradient: of bits; straight-through if not given.
        temperature: of relaxed bits.

    Raises:
        UsageError: a gradient of bits, and draws are not bits.
    """
    if not (isinstance(generator, BitGenerator) and generator.bits):
        if gradient is not None:
            raise UsageError(
                f"bits is '{gradient}', but draws of {type(generator).__name__} are no bits and "
                "carry gradients themselves; leave objective.bits out"
            )
        return Draws(generator)
    if gradient == "score":
        return ScoreDraws(generator)
    return RelaxedDraws(generator, temperature, rounded=gradient != "relaxed")
