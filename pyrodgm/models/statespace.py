"""State space models whose latent states are summed or integrated out exactly, frame by frame.

Both are written as what they are for the data: every frame given those before it, through the
belief about the state. So they generate, forecast and are evaluated like any other model.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import LowRankNormal, Mixture, partial
from pyrodgm.errors import DataError, UsageError
from pyrodgm.models.base import Companions, ModelTraits, SequenceModel
from pyrodgm.networks.emissions import EmissionName, Inputs, make_emission
from pyrodgm.past import Past, join, scan
from pyrodgm.sequences import Draw

TINY = 1e-30  # a belief never rules a state out for good
LEAST_NOISE = 1e-4  # of a standardised feature: none is without any

_EXACT = ModelTraits(latents="none", sequential=True)


@final
class HMM(SequenceModel):
    r"""Hidden Markov model, its states summed out by the forward recursion.

    .. math::
        p(x_t \mid x_{<t}) &= \sum_c \pi_t(c)\, p(x_t \mid c), \qquad
        \pi_{t+1}(c') = \sum_c A_{c c'} \, \frac{\pi_t(c)\, p(x_t \mid c)}{p(x_t \mid x_{<t})}

    Args:
        info: the data's facts; its features are D.
        num_states: states C.
        emission: of a frame given its state: "bernoulli", "gaussian", "multinomial"; "auto" fits
            the data.

    Shapes: site ``x`` (B, T, D).

    Raises:
        DataError: the emission cannot score such data.
        UsageError: the emission is "nade".

    Reference: Rabiner, A tutorial on hidden Markov models, 1989, equations 19 to 21, with the
    belief normalised in every frame.
    """

    traits: ClassVar[ModelTraits] = _EXACT
    companions: ClassVar[Companions] = Companions("none", "ml", "jsb")
    states = ("belief",)

    def __init__(
        self,
        info: DataInfo,
        *,
        num_states: Annotated[int, Field(ge=1)] = 50,
        emission: EmissionName = "auto",
    ) -> None:
        super().__init__()
        if emission == "nade":
            raise UsageError("hmm has no emission 'nade'; take bernoulli, gaussian or multinomial")
        self.history = 1
        self.latents = {}
        self.observed = {"x": info.dim}
        self.emission = make_emission(emission, info)
        start = self.emission.start(info)
        self.by_state = nn.Parameter(start + 0.3 * torch.randn(num_states, len(start)))
        self.cell = ForwardCell(num_states)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame: what the frame before says of the state, then a mixture over states."""
        del encoded
        components, seen = self.emission(self.by_state), past.seen("x")
        law = partial(components, None if seen is None else seen[..., None, :])
        evidence = law.log_prob(past["x"][..., None, :])
        started = (t > 0).to(evidence.dtype)[..., None].expand(*evidence.shape[:-1], 1)
        belief = past.carry("belief", torch.cat([evidence, started], -1), self.cell)
        draw("x", Mixture(belief, components))


class ForwardCell(nn.Module):
    r"""The belief about the state of a hidden Markov model, as log-probabilities (..., C).

    Args:
        num_states: states C.
    """

    def __init__(self, num_states: int) -> None:
        super().__init__()
        self.dim = self.state_dim = num_states
        self.initial = nn.Parameter(torch.zeros(num_states))
        self.transition = nn.Parameter(torch.randn(num_states, num_states))

    def forward(self, drive: Tensor, state: Tensor) -> Tensor:
        """The belief about this frame's state, given the evidence of the frame before."""
        evidence, started = drive[..., :-1], drive[..., -1:]
        posterior = (state + evidence).softmax(-1)
        predicted = (posterior @ self.transition.softmax(-1)).clamp(min=TINY).log()
        return torch.where(started > 0, predicted, self.initial.log_softmax(-1))

    def outputs(self, drive: Tensor) -> Tensor:
        """The beliefs of all frames, (..., T, C)."""
        return scan(self, drive)

    states = outputs


@final
class LDS(SequenceModel):
    r"""Linear dynamical system, its states integrated out by the Kalman filter.

    .. math:: s_t = A s_{t-1} + \mathcal N(0, I), \qquad x_t = C s_t + c + \mathcal N(0, R)

    with R diagonal; the scale of the state is free, so its noise has covariance one.

    Args:
        info: the data's facts; its features are D.
        state_dim: size of the state, S.

    Shapes: site ``x`` (B, T, D), real-valued; the law of a frame given those before it is normal,
    with a covariance of rank S plus a diagonal.

    Raises:
        DataError: the data is not real-valued.

    Reference: Kalman, A new approach to linear filtering and prediction problems, 1960; Gan, slides
    of 2015, review of LDS. Features are standardised first.
    """

    traits: ClassVar[ModelTraits] = _EXACT
    companions: ClassVar[Companions] = Companions("none", "ml", "mocap")
    states = ("covariance", "mean")

    def __init__(self, info: DataInfo, *, state_dim: Annotated[int, Field(ge=1)] = 10) -> None:
        super().__init__()
        if info.kind != "real":
            raise DataError(
                f"lds models real values and the data '{info.name}' has {info.kind} ones; hmm has "
                "emissions for them"
            )
        self.history = 1
        self.latents = {}
        self.observed = {"x": info.dim}
        self.inputs = Inputs(info)
        self.transition = nn.Parameter(0.9 * torch.eye(state_dim))
        self.loading = nn.Parameter(torch.randn(info.dim, state_dim) / (3 * math.sqrt(state_dim)))
        self.offset = nn.Parameter(torch.zeros(info.dim))
        self.log_noise = nn.Parameter(torch.full((info.dim,), -1.0))
        self.initial_mean = nn.Parameter(torch.zeros(state_dim))
        self.log_initial = nn.Parameter(torch.zeros(state_dim))

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame: the filter moves on by the frame before, then the frame is normal."""
        del encoded
        noise, seen = self.log_noise.exp() + LEAST_NOISE, past.seen("x")
        weight = self.loading / noise[:, None]  # R^-1 C
        if seen is not None:
            weight = seen[..., None] * weight
        started = (t > 0).to(weight.dtype)
        information = self.loading.T @ weight  # C^T R^-1 C
        covariance, smoothed = self._covariances(past, information, started)
        move = self.transition @ smoothed  # A V, zero in the first frame
        keep = started[..., None, None] * self.transition - move @ information
        seen_x = self.inputs(past["x"]) - self.offset
        push = ((move @ weight.mT) @ seen_x[..., None]).squeeze(-1)
        push = push + (1 - started)[..., None] * self.initial_mean
        mean = past.carry("mean", join(push, keep.flatten(-2)), AffineCell(push.shape[-1]))
        factor = self.loading @ torch.linalg.cholesky(covariance)
        loc = mean @ self.loading.T + self.offset
        draw("x", LowRankNormal(loc, factor, noise).scaled(self.inputs.centre, self.inputs.scale))

    def _covariances(
        self, past: Past, information: Tensor, started: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of the state given the frames before, P_t, and of the last one given its own too, V."""
        size = information.shape[-1]
        cell = CovarianceCell(self.transition, self.log_initial.exp().diag())
        drive = join(started[..., None], information.flatten(-2))
        both = past.carry("covariance", drive, cell).unflatten(-1, (2, size, size))
        return both[..., 0, :, :], both[..., 1, :, :]


class CovarianceCell:
    r"""Covariances of the Kalman filter, which do not depend on what was seen, only on whether.

    .. math:: V = (P_{t-1}^{-1} + C^T R^{-1} C)^{-1}, \qquad P_t = A V A^T + I

    Args:
        transition: A, (S, S).
        initial: the first P, (S, S).
    """

    def __init__(self, transition: Tensor, initial: Tensor) -> None:
        self.transition, self.initial = transition, initial
        self.size = len(initial)
        self.dim = self.state_dim = 2 * self.size**2

    def __call__(self, drive: Tensor, state: Tensor) -> Tensor:
        """P_t and V, flat and side by side."""
        started, information = drive[..., :1, None], drive[..., 1:]
        eye = torch.eye(self.size, dtype=drive.dtype, device=drive.device)
        before = state[..., : self.size**2].unflatten(-1, (self.size, self.size))
        before = torch.where(started > 0, before, eye)
        information = information.unflatten(-1, (self.size, self.size))
        smoothed = torch.linalg.solve(eye + before @ information, before)
        smoothed = started * (smoothed + smoothed.mT) / 2
        moved = self.transition @ smoothed @ self.transition.T + eye
        predicted = torch.where(started > 0, moved, self.initial)
        return join(predicted.flatten(-2), smoothed.flatten(-2))

    def outputs(self, drive: Tensor) -> Tensor:
        """Those of all frames."""
        return scan(self, drive)

    states = outputs


class AffineCell:
    r"""The recurrence :math:`m_t = b_t + F_t m_{t-1}`, driven by b and F side by side.

    Args:
        size: of m.
    """

    def __init__(self, size: int) -> None:
        self.dim = self.state_dim = size

    def __call__(self, drive: Tensor, state: Tensor) -> Tensor:
        """The next state."""
        offset, matrix = drive[..., : self.dim], drive[..., self.dim :]
        matrix = matrix.unflatten(-1, (self.dim, self.dim))
        return offset + (matrix @ state[..., None]).squeeze(-1)

    def outputs(self, drive: Tensor) -> Tensor:
        """Those of all frames."""
        return scan(self, drive)

    states = outputs
