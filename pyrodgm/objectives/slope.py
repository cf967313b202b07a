"""Bounds on the slope of a critic: clipped weights, a gradient penalty, singular values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from pyrodgm.errors import UsageError
from pyrodgm.networks.critics import bound_spectrum, clip_weights, slope

BoundKind = Literal["none", "clip", "penalty", "spectral"]
USUAL = {"clip": 0.01, "penalty": 10.0, "spectral": 1.0}


@dataclass(frozen=True)
class SlopeBound:
    r"""What bounds the slope of a critic f between data and draws.

    .. math::
        \text{clip: } & |w| \le c \text{ for every weight, after every turn} \\
        \text{penalty: } & \lambda\, E (\lVert \nabla f(\hat x) \rVert - 1)^2 \text{ in its loss,}
            \quad \hat x = u\, x + (1 - u)\, g, \; u \sim \mathcal U(0, 1) \\
        \text{spectral: } & \sigma_{\max}(W) \le c \text{ for every matrix, after every turn}

    Args:
        kind: "none", "clip", "penalty" or "spectral".
        by: c or :math:`\lambda`; 0.01 for clip, 10 for a penalty and 1 for spectral if not given.

    Raises:
        UsageError: a size without a kind.

    Reference: Arjovsky et al., Wasserstein GAN, 2017 (clip); Gulrajani et al., Improved training of
    Wasserstein GANs, 2017 (penalty); Miyato et al., Spectral normalization for GANs, 2018, with
    the projection of Gouk et al., 2021, which is exact and has no state.

    >>> SlopeBound("penalty").size, SlopeBound("clip", 0.1).size
    (10.0, 0.1)
    """

    kind: BoundKind = "none"
    by: float | None = None

    def __post_init__(self) -> None:
        if self.kind == "none" and self.by is not None:
            raise UsageError(
                f"bound_by is {self.by:g}, but bound is 'none'; give a bound: {', '.join(USUAL)}"
            )

    @property
    def size(self) -> float:
        """c, or the weight of the penalty; zero for none."""
        return USUAL.get(self.kind, 0.0) if self.by is None else self.by

    @property
    def penalises(self) -> bool:
        """Whether the critic's loss has a penalty."""
        return self.kind == "penalty"

    def excess(self, critic: Callable[[Tensor], Tensor], data: Tensor, draws: Tensor) -> Tensor:
        """The squared distance of the slope from one between data and draws, (..., D) to (...).

        It carries gradients to the parameters of the critic.

        Args:
            critic: f, of each point alone, (..., D) to (...).
            data: points, (..., D).
            draws: as many.
        """
        share = torch.rand_like(data[..., :1])
        return (slope(critic, share * data + (1 - share) * draws) - 1).square()

    def after(self, critic: nn.Module) -> Callable[[], None] | None:
        """What is done with a critic after each of its turns; None for nothing."""
        if self.kind == "clip":
            return partial(clip_weights, critic, self.size)
        return partial(bound_spectrum, critic, self.size) if self.kind == "spectral" else None
