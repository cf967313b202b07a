"""Linear dynamical systems, with states integrated out exactly, frame by frame.

The result is a model of frames alone, each given those before it through the belief about the
state. It generates, forecasts and is evaluated like any other model.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.data.kinds import taken_for
from pyrodgm.distributions import LowRankNormal
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.errors import DataError
from pyrodgm.models.base import Companions, StateSpaceModel
from pyrodgm.networks.inputs import Inputs, varying

LEAST_NOISE = 1e-4  # smallest noise variance of a standardised feature
SETTLED = 16  # units in the last place below which the first covariance has no more effect


@final
class LDS(StateSpaceModel):
    r"""Linear dynamical system, with states integrated out by the Kalman filter.

    .. math::
        s_t = A s_{t-1} + \mathcal N(0, I - A A^T), \qquad x_t = C s_t + c + \mathcal N(0, R) \\
        A = L^{-1} M, \qquad L L^T = I + M M^T, \qquad I - A A^T = L^{-1} L^{-T}

    with any matrix M and diagonal R. The stationary covariance of states is the identity, so
    forecasts cannot diverge. Every stable system whose noise affects all of the state has this form
    in some coordinates.

    Args:
        info: the data's facts; its features are D.
        state_dim: size of the state, S.

    Shapes: site ``x`` (B, T, D), real-valued; a frame given those before it is normal, with a
    covariance of rank S plus a diagonal.

    Raises:
        DataError: the data is not real-valued.

    Reference: Kalman, A new approach to linear filtering and prediction problems, 1960; Gan, slides
    of 2015, review of LDS. Features are standardised first.
    """

    companions: ClassVar[Companions] = Companions("none", "ml", "mocap")
    varies: Tensor | None
    states = ("covariance", "mean")

    def __init__(self, info: DataInfo, *, state_dim: Annotated[int, Field(ge=1)] = 10) -> None:
        super().__init__(info)
        if info.kind != "real":
            raise DataError(
                f"lds models real values, but the data '{info.name}' has {info.kind} values; hmm "
                f"has emissions for them{taken_for(info.kind, ('real',))}"
            )
        self.latents = {}
        self.observed = {"x": info.dim}
        self.inputs = Inputs(info)
        self.register_buffer("varies", varying(info), persistent=False)
        self.motion = nn.Parameter(2 * torch.eye(state_dim))  # A is 0.89 I
        self.loading = nn.Parameter(torch.randn(info.dim, state_dim) / math.sqrt(2 * state_dim))
        self.offset = nn.Parameter(torch.zeros(info.dim))
        self.log_noise = nn.Parameter(torch.full((info.dim,), -1.0))
        self.initial_mean = nn.Parameter(torch.zeros(state_dim))
        self.log_initial = nn.Parameter(torch.zeros(state_dim))

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame: update the filter by the frame before, draw from a normal distribution."""
        del encoded
        draw("x", self._frame(*self._belief(past, t)))

    def dynamics(self) -> tuple[Tensor, Tensor]:
        """Transition matrix A and covariance of the state noise, both (S, S)."""
        eye = torch.eye(len(self.motion), dtype=self.motion.dtype, device=self.motion.device)
        factor = torch.linalg.cholesky(eye + self.motion @ self.motion.T)
        inverse = torch.linalg.solve_triangular(factor, eye, upper=False)
        return inverse @ self.motion, inverse @ inverse.T

    def smoothed(self, batch: Batch) -> LowRankNormal:
        r"""Every frame given all observations of its sequence: the Rauch-Tung-Striebel smoother.

        .. math::
            V_t &= (P_t^{-1} + C^T R_t^{-1} C)^{-1}, \qquad
            f_t = m_t + V_t C^T R_t^{-1} (x_t - c - C m_t), \qquad
            J_t = V_t A^T P_{t+1}^{-1} \\
            \hat m_t &= f_t + J_t (\hat m_{t+1} - m_{t+1}), \qquad
            \hat V_t = (I - J_t A) V_t (I - J_t A)^T + J_t (Q + \hat V_{t+1}) J_t^T

        with Q the covariance of the noise, m and P the filter's belief about :math:`s_t` given the
        frames before, and R infinite for missing values. This form of the covariance stays positive
        under rounding.

        Reference: Rauch, Tung and Striebel, Maximum likelihood estimates of linear dynamic systems,
        1965.
        """
        mean, covariance = self._belief(*self.before(batch))
        loading, weight = self._weight(batch.observed)
        eye = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
        filtered = torch.linalg.solve(eye + covariance @ (loading.T @ weight), covariance)
        filtered = (filtered + filtered.mT) / 2
        rest = self.inputs(batch.x) - self.offset - mean @ loading.T
        now = mean + (filtered @ (weight.mT @ rest[..., None])).squeeze(-1)
        transition, noise = self.dynamics()
        move = transition @ filtered  # A V_t, and J_t is the transpose of P_{t+1}^{-1} A V_t
        means, covariances = [now[:, -1]], [filtered[:, -1]]
        for t in reversed(range(batch.length - 1)):
            gain = torch.linalg.solve(covariance[:, t + 1], move[:, t]).mT
            keep = eye - gain @ transition
            ahead = means[-1] - mean[:, t + 1]
            means.append(now[:, t] + (gain @ ahead[..., None]).squeeze(-1))
            spread = keep @ filtered[:, t] @ keep.mT
            covariances.append(spread + gain @ (noise + covariances[-1]) @ gain.mT)
        return self._frame(torch.stack(means[::-1], 1), torch.stack(covariances[::-1], 1))

    def _observation(self) -> tuple[Tensor, Tensor, Tensor]:
        """C (D, S), c and the diagonal of R (D,); a constant feature has noise variance one."""
        noise = self.log_noise.exp() + LEAST_NOISE
        if self.varies is None:
            return self.loading, self.offset, noise
        loading, offset = self.loading * self.varies[:, None], self.offset * self.varies
        return loading, offset, noise.where(self.varies, 1.0)

    def _frame(self, mean: Tensor, covariance: Tensor) -> LowRankNormal:
        """Distribution of a frame with state mean (..., S) and state covariance (..., S, S)."""
        loading, offset, noise = self._observation()
        factor = loading @ torch.linalg.cholesky(covariance)
        constant = None if self.varies is None else ~self.varies
        frame = LowRankNormal(mean @ loading.T + offset, factor, noise, constant)
        return frame.scaled(self.inputs.centre, self.inputs.scale)

    def _weight(self, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """C (D, S) and R^-1 C (..., D, S), with zero rows for missing features."""
        loading, _, noise = self._observation()
        weight = loading / noise[:, None]
        return loading, weight if seen is None else seen[..., None] * weight

    def _belief(self, past: Past, t: Tensor) -> tuple[Tensor, Tensor]:
        """Belief about the state given the frames before: mean (..., S), covariance (..., S, S)."""
        seen = past.seen("x")
        loading, weight = self._weight(seen)
        transition, noise = self.dynamics()
        information = loading.T @ weight  # C^T R^-1 C
        started = (t > 0).to(weight.dtype)[..., None]
        initial = self.log_initial.exp().diag()
        cell = CovarianceCell(transition, noise, initial, information, same=seen is None)
        both = past.carry("covariance", started, cell)
        covariance, smoothed = both.unflatten(-1, (2, *noise.shape)).unbind(-3)
        move = transition @ smoothed  # A V, zero in the first frame
        keep = started[..., None] * transition - move @ information
        seen_x = self.inputs(past["x"]) - self.offset
        push = ((move @ weight.mT) @ seen_x[..., None]).squeeze(-1)
        push = push + (1 - started) * self.initial_mean
        return past.carry("mean", push, AffineCell(keep)), covariance


class CovarianceCell:
    r"""Covariances of the Kalman filter, which depend on which values are missing, not on values.

    .. math:: V = (P_{t-1}^{-1} + C^T R^{-1} C)^{-1}, \qquad P_t = A V A^T + Q

    Args:
        transition: A, (S, S).
        noise: Q, (S, S).
        initial: the first P, (S, S).
        information: information of a frame, :math:`C^T R^{-1} C`, (..., S, S), or of all frames.
        same: whether it is the same for all frames, without a dimension of time.
    """

    def __init__(
        self, transition: Tensor, noise: Tensor, initial: Tensor, information: Tensor, *, same: bool
    ) -> None:
        self.transition, self.noise, self.initial = transition, noise, initial
        self.information, self.same = information, same
        self.size = len(initial)
        self.dim = self.state_dim = 2 * self.size**2

    def __call__(self, drive: Tensor, state: Tensor) -> Tensor:
        """P_t and V, flat and side by side; the drive is zero in the first frame, one later."""
        return self._next(drive, state, self.information)

    def _next(self, started: Tensor, state: Tensor, information: Tensor) -> Tensor:
        started = started[..., None]
        eye = torch.eye(self.size, dtype=state.dtype, device=state.device)
        before = state[..., : self.size**2].unflatten(-1, (self.size, self.size))
        before = torch.where(started > 0, before, eye)
        system = eye + before @ information
        smoothed = torch.linalg.solve(
            system, before.expand_as(system)
        )  # else (S, S) may be vectors
        smoothed = started * (smoothed + smoothed.mT) / 2
        moved = self.transition @ smoothed @ self.transition.T + self.noise
        predicted = torch.where(started > 0, moved, self.initial)
        return join(predicted.flatten(-2), smoothed.flatten(-2))

    def outputs(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        r"""Covariances of all frames; with constant information, computed only until they converge.

        A change of the first covariance by :math:`\Delta` has the effect
        :math:`\Phi_t \Delta \Phi_t^T` later, with :math:`\Phi_t = A (I - V_t C^T R^{-1} C)
        \Phi_{t-1}`. Once this is below rounding, later covariances and their gradients are equal up
        to rounding.
        """
        length = drive.shape[-2]
        gains = [self.information] * length if self.same else self.information.unbind(-3)
        state, reach = (
            drive.new_zeros(self.state_dim) if start is None else start,
            self.initial.diag().clamp(min=1).sqrt().diag(),
        )
        states: list[Tensor] = []
        for started, information in zip(drive.unbind(-2), gains, strict=True):
            state = self._next(started, state, information)
            states.append(state)
            if self.same and len(states) > 1:
                reach = self._reach(reach, state)
                if self._settled(reach, state):
                    break
        states += [state] * (length - len(states))
        return torch.stack(states, -2)

    states = outputs

    @torch.no_grad()
    def _reach(self, reach: Tensor, state: Tensor) -> Tensor:
        """The sensitivity to the first covariance, one frame later."""
        smoothed = state[..., self.size**2 :].unflatten(-1, (self.size, self.size))
        return self.transition @ (reach - smoothed @ (self.information @ reach))

    def _settled(self, reach: Tensor, state: Tensor) -> bool:
        """Whether this sensitivity is below rounding, relative to the variances."""
        variances = state[..., : self.size**2 : self.size + 1].detach()
        least = SETTLED * torch.finfo(state.dtype).eps * variances
        return bool((reach.square().sum(-1) <= least).all())


class AffineCell:
    r"""The recurrence :math:`m_t = b_t + F_t m_{t-1}`, driven by b.

    Args:
        matrix: F, (..., S, S) of this frame or (..., T, S, S) of all.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.dim = self.state_dim = matrix.shape[-1]

    def __call__(self, drive: Tensor, state: Tensor) -> Tensor:
        """The next state."""
        return drive + (self.matrix @ state[..., None]).squeeze(-1)

    def outputs(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The states of all frames."""
        state, states = torch.zeros_like(drive[..., 0, :]) if start is None else start, []
        for push, matrix in zip(drive.unbind(-2), self.matrix.unbind(-3), strict=True):
            state = push + (matrix @ state[..., None]).squeeze(-1)
            states.append(state)
        return torch.stack(states, -2)

    states = outputs
