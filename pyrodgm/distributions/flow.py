"""Vectors of numbers that invertible maps make of independent normal numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import Transform

from pyrodgm.distributions.normal import NormalVector

Parts = Callable[[Tensor], tuple[NormalVector, Sequence[Transform]]]


class FlowVector(TorchDistribution):
    r"""A normal vector after a chain of invertible maps, scored as one event (D,).

    .. math:: z = f_L(\dots f_1(z_0)), \quad z_0 \sim \mathcal N(\mu, \mathrm{diag}\, \sigma^2),
        \qquad
        \log q(z) = \log \mathcal N(z_0) - \sum_l
            \log \Big| \det \frac{\partial f_l}{\partial z_{l-1}} \Big|

    Draws carry gradients, and their density is computed as they are drawn. Other values are first
    mapped back to :math:`z_0`.

    Args:
        parts: gives the normal vector and the maps, the first one first, from numbers (..., size).
        numbers: all parameters, (..., size).
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, parts: Parts, numbers: Tensor) -> None:
        self.parts, self.numbers = parts, numbers
        self.start, _ = parts(numbers)
        self._drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(self.start.batch_shape, self.start.event_shape, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> FlowVector:
        """The same over a larger batch."""
        shape = torch.Size(batch_shape) + self.numbers.shape[-1:]
        return FlowVector(self.parts, self.numbers.expand(shape))

    @classmethod
    def over_time(cls, frames: Sequence[FlowVector]) -> FlowVector:
        """The distributions of T frames as one, of batch shape (..., T), with their draws."""
        found = cls(frames[0].parts, torch.stack([frame.numbers for frame in frames], -2))
        drawn = [frame._drawn for frame in frames if frame._drawn is not None]
        if len(drawn) == len(frames):
            values, nats = zip(*drawn, strict=True)
            found._drawn = torch.stack(values, -2), torch.stack(nats, -1)
        return found

    def noise(self, shape: torch.Size) -> Tensor:
        """Standard normal noise, drawn before a loop that uses it frame by frame."""
        return self.start.noise(shape)

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draws with this noise, (..., D); they carry gradients."""
        self._drawn = self._forward(self.start.from_noise(noise))
        return self._drawn[0]

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws that carry gradients, sample_shape + (..., D)."""
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        return self.from_noise(self.noise(shape))

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event."""
        known = self._known(value)
        return self._forward(self._backward(value))[1] if known is None else known

    def _forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """What the maps make of a value of the normal vector, and its log-density."""
        nats = self.start.log_prob(z)
        for each in self._maps():
            after = cast("Tensor", each(z))
            nats, z = nats - each.log_abs_det_jacobian(z, after), after
        return z, nats

    def _backward(self, value: Tensor) -> Tensor:
        """The value of the normal vector of which the maps make this one."""
        for each in reversed(self._maps()):
            value = cast("Tensor", each.inv(value))
        return value

    def _maps(self) -> Sequence[Transform]:
        """The maps, made for each use: those of Pyro remember a part of what they did last."""
        return self.parts(self.numbers)[1]

    def _known(self, value: Tensor) -> Tensor | None:
        """The log-density of the last draws, with their gradients; None for other values.

        A copy of draws without their gradients counts as another value, since its density has other
        gradients.
        """
        if self._drawn is None:
            return None
        drawn, nats = self._drawn
        if torch.is_grad_enabled() and (drawn.grad_fn is None or value.grad_fn is None):
            return None
        if value.numel() != drawn.numel() or not torch.equal(value.reshape(drawn.shape), drawn):
            return None
        return nats.reshape(value.shape[:-1])
