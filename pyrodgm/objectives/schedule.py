"""Numbers that change over training: schedules, and how they are written as an option.

An option that may be a schedule is a number, or the text ``kind:start:end:steps``, such as
``linear:0:1:5000``, in Python, in a configuration file and on the command line.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

from pyrodgm.errors import UsageError, did_you_mean

FORM = "give a number, or kind:start:end:steps, such as linear:0:1:5000"


class Schedule(nn.Module):
    r"""A number that changes over training, such as the weight of a KL term or a temperature.

    With the share :math:`s = \min(1, n / N)` of N steps, it goes from a to b as

    .. math::
        \text{linear: } a + s (b - a), \qquad \text{exponential: } a\, (b / a)^s, \qquad
        \text{cosine: } b + \tfrac12 (a - b) (1 + \cos \pi s)

    and then stays constant. It counts its calls in training, and does not change in evaluation.

    Args:
        kind: "linear", "exponential" or "cosine".
        start: a.
        end: b.
        steps: N.

    Raises:
        UsageError: an unknown kind, no steps, or an exponential schedule with numbers that are not
            positive.

    >>> weight = Schedule("linear", start=0.0, end=1.0, steps=4)
    >>> [float(weight()) for _ in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    count: Tensor

    def __init__(self, kind: str, *, start: float, end: float, steps: int) -> None:
        super().__init__()
        if kind not in SCHEDULES:
            raise UsageError(f"unknown schedule '{kind}'; {did_you_mean(kind, SCHEDULES)}")
        if steps < 1:
            raise UsageError(f"a schedule has {steps} steps; give at least 1")
        if kind == "exponential" and min(start, end) <= 0:
            raise UsageError(
                f"an exponential schedule from {start:g} to {end:g}; both must be positive"
            )
        self.kind, self.start, self.end, self.steps = kind, start, end, steps
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        """The value of this step; in training, each call moves to the next step."""
        share = (self.count / self.steps).clamp(max=1)
        if self.training:
            self.count = self.count + 1
        return SCHEDULES[self.kind](self.start, self.end, share)


def _linear(start: float, end: float, share: Tensor) -> Tensor:
    return start + share * (end - start)


def _exponential(start: float, end: float, share: Tensor) -> Tensor:
    return start * (end / start) ** share


def _cosine(start: float, end: float, share: Tensor) -> Tensor:
    return end + 0.5 * (start - end) * (1 + torch.cos(math.pi * share))


SCHEDULES = {"linear": _linear, "exponential": _exponential, "cosine": _cosine}


class Fixed(nn.Module):
    """A number that does not change over training; it has no state.

    Args:
        value: the number.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self) -> float:
        """The number."""
        return self.value


def scheduled(option: float | str) -> Schedule | Fixed:
    """What an option stands for: a fixed number, or a schedule.

    Args:
        option: a number, or ``kind:start:end:steps``.

    Raises:
        UsageError: it is neither, or there is no such schedule.

    >>> weight = scheduled("linear:0:1:4")
    >>> [float(weight()) for _ in range(3)], scheduled(0.5)()
    ([0.0, 0.25, 0.5], 0.5)
    """
    if isinstance(option, int | float) and not isinstance(option, bool):
        return Fixed(float(option))
    if not isinstance(option, str):
        raise UsageError(FORM)
    kind, *numbers = option.split(":")
    try:
        start, end = (float(number) for number in numbers[:2])
        (steps,) = (int(number) for number in numbers[2:])
    except ValueError as error:
        raise UsageError(FORM) from error
    if not (math.isfinite(start) and math.isfinite(end)):
        raise UsageError(f"a schedule from {start:g} to {end:g}; both must be finite")
    return Schedule(kind, start=start, end=end, steps=steps)


def _checked(option: Any, *, zero: bool) -> Any:
    """The option, if it is a number or a schedule of numbers in range.

    Args:
        option: as it is given.
        zero: whether zero is in range.
    """
    try:
        found = scheduled(option)
    except UsageError as error:
        raise PydanticCustomError("schedule", "{reason}", {"reason": str(error)}) from error
    least = found.value if isinstance(found, Fixed) else min(found.start, found.end)
    if least < 0 or (least == 0 and not zero):
        reason = "must be at least 0" if zero else "must be positive"
        raise PydanticCustomError("schedule", "{reason}", {"reason": reason + ", at any step"})
    return found.value if isinstance(found, Fixed) else option


NonNegative = Annotated[float | str, BeforeValidator(partial(_checked, zero=True))]
Positive = Annotated[float | str, BeforeValidator(partial(_checked, zero=False))]
