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

BoundKind = Literal["none", "clip", "penalty", "zero-centred", "spectral"]
USUAL = {"clip": 0.01, "penalty": 10.0, "zero-centred": 10.0, "spectral": 1.0}


@dataclass(frozen=True)
class SlopeBound:
    r"""What bounds the slope of a critic f between data and draws.

    .. math::
        \text{clip: } & |w| \le c \text{ for every weight, after every turn} \\
        \text{penalty: } & \lambda\, E (\lVert \nabla f(\hat x) \rVert - 1)^2 \text{ in its loss,}
            \quad \hat x = u\, x + (1 - u)\, g, \; u \sim \mathcal U(0, 1) \\
        \text{zero-centred: } & \tfrac{\lambda}{2} \big(E \lVert \nabla f(x) \rVert^2
            + E \lVert \nabla f(g) \rVert^2\big) \text{ in its loss} \\
        \text{spectral: } & \sigma_{\max}(W) \le c \text{ for every matrix, after every turn}

    With a zero-centred penalty the game is stable where draws equal data, and the critic is flat
    there, as the log ratio is.

    Args:
        kind: "none", "clip", "penalty", "zero-centred" or "spectral".
        by: c or :math:`\lambda`; 0.01 for clip, 10 for penalties and 1 for spectral if not given.

    Raises:
        UsageError: a size without a kind.

    Reference: Arjovsky et al., Wasserstein GAN, 2017 (clip); Gulrajani et al., Improved training of
    Wasserstein GANs, 2017 (penalty); Mescheder, Geiger and Nowozin, Which training methods for GANs
    do actually converge?, 2018, equations 9 and 10 together (zero-centred); Miyato et al., Spectral
    normalization for GANs, 2018, with the projection of Gouk et al., 2021, which is exact and has
    no state.

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
        return self.kind in ("penalty", "zero-centred")

    def excess(self, critic: Callable[[Tensor], Tensor], data: Tensor, draws: Tensor) -> Tensor:
        """What a penalty weighs, (..., D) to (...), with gradients to parameters of the critic.

        It is the squared distance of the slope from one between data and draws; or, zero-centred,
        the mean of the squared slopes at data and at draws.

        Args:
            critic: f, of each point alone, (..., D) to (...).
            data: points, (..., D).
            draws: as many.
        """
        if self.kind == "zero-centred":
            return (slope(critic, data).square() + slope(critic, draws).square()) / 2
        share = torch.rand_like(data[..., :1])
        return (slope(critic, share * data + (1 - share) * draws) - 1).square()

    def after(self, critic: nn.Module) -> Callable[[], None] | None:
        """What is done with a critic after each of its turns; None for nothing."""
        if self.kind == "clip":
            return partial(clip_weights, critic, self.size)
        return partial(bound_spectrum, critic, self.size) if self.kind == "spectral" else None
