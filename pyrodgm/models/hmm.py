"""Hidden Markov models, with states summed out exactly, frame by frame.

The result is a model of frames alone, each given those before it through the belief about the
state. It generates, forecasts and is evaluated like any other model.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, cast, final

import torch
from pydantic import Field
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.distributions import Mixture, partial
from pyrodgm.distributions.missing import given_seen
from pyrodgm.engine.cells import scan
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.models.base import Companions, ModelTraits, StateSpaceModel
from pyrodgm.models.hmm_start import start_from_data
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import MixtureName, make_emission

StateEmission = (
    Literal[
        "auto",
        "bernoulli",
        "categorical",
        "gaussian",
        "gaussian-mixture",
        "multinomial",
        "negative-binomial",
        "poisson",
    ]
    | MixtureName
)
SLOPES = 0.1  # standard deviation of the first regression weights, of standardised conditions
TINY = 1e-30  # smallest belief, so that every state remains possible


@final
class HMM(StateSpaceModel):
    r"""Hidden Markov model, with states summed out by the forward recursion.

    .. math::
        p(x_t \mid x_{<t}) &= \sum_c \pi_t(c)\, p(x_t \mid c), \qquad
        \pi_{t+1}(c') = \sum_c A_{c c'} \, \frac{\pi_t(c)\, p(x_t \mid c)}{p(x_t \mid x_{<t})}

    With conditions u, every state is a regression on them,
    :math:`p(x_t \mid c, u_t) = \text{emission}(b_c + V_c u_t)`, as in a GLM-HMM and in the response
    models of depmixS4; for `gaussian` these are mean and log-variance. Transitions do not depend on
    conditions.

    Args:
        info: the data's facts; its features are D.
        num_states: states C.
        emission: of a frame given its state; "auto" follows from the data, and
            "gaussian-mixture:C" has C components, 10 if not given.
        start: "data" starts from clusters of the training frames, see
            `pyrodgm.models.hmm_start`; "random" from random numbers.

    Shapes: site ``x`` (B, T, D).

    Raises:
        DataError: the emission cannot score such data.
        UsageError: there is no such emission.

    Reference: Rabiner, A tutorial on hidden Markov models, 1989, equations 19 to 21, with the
    belief normalised in every frame; for conditions, Bengio and Frasconi, Input-output HMMs for
    sequence processing, 1996, with transitions that do not depend on the input.
    """

    traits: ModelTraits = ModelTraits(latents="none", sequential=True, conditions=True)
    companions: ClassVar[Companions] = Companions("none", "ml", "jsb")
    states = ("belief",)

    def __init__(
        self,
        info: DataInfo,
        *,
        num_states: Annotated[int, Field(ge=1)] = 50,
        emission: StateEmission = "auto",
        start: Literal["data", "random"] = "data",
    ) -> None:
        super().__init__(info)
        self.latents = {}
        self.observed = {"x": info.dim}
        self.emission = make_emission(emission, info)
        numbers = self.emission.start(info)
        self.by_state = nn.Parameter(numbers + 0.3 * torch.randn(num_states, len(numbers)))
        self.cell = ForwardCell(num_states)
        self.conditions = Conditions(info)
        self.slopes: nn.Parameter | None = None
        if self.conditions.dim:
            shape = (num_states, len(numbers), self.conditions.dim)
            self.slopes = nn.Parameter(SLOPES * torch.randn(shape))
        self._starts_from_data = start == "data"
        self.register_load_state_dict_post_hook(_keep_loaded)

    def begin(self, splits: Splits, seed: int) -> None:
        """Start from clusters of the training frames, unless parameters were loaded or trained."""
        if self._starts_from_data:
            self._starts_from_data = False
            start_from_data(self, splits, seed)

    @property
    def frame_size(self) -> int:
        """Numbers per frame: every state has its own distribution."""
        return self.cell.dim * self.observed["x"]

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every frame and of the one before, (B, T, 2 U); None without."""
        given = self.conditions(batch)
        return (
            None if given is None else torch.cat([given, batch.lagged("conditions", given, 1)], -1)
        )

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame: update the belief by the frame before, draw from a mixture over states."""
        now, _ = _now_and_before(encoded)
        draw("x", Mixture(self._belief(past, t, encoded), self._emissions(now)))

    def smoothed(self, batch: Batch) -> Mixture:
        """Every frame given all observations of its sequence: a mixture over smoothed states."""
        now, _ = _now_and_before(self.encode(batch))
        emissions = self._emissions(now)
        if isinstance(emissions, Mixture):  # whose components depend on what was seen of a frame
            emissions = given_seen(emissions, batch.x[..., None, :], batch.observed[..., None, :])
        return Mixture(self.log_states(batch), emissions)

    def log_states(self, batch: Batch) -> Tensor:
        r"""Log-probabilities of the states given the whole sequence, (B, T, C): smoothing.

        .. math:: w_t(c) \propto \pi_t(c)\, p(x_t \mid c)\, \beta_t(c), \qquad
            \beta_t(c) = \sum_{c'} A_{c c'}\, p(x_{t+1} \mid c')\, \beta_{t+1}(c')

        Reference: Rabiner, 1989, equations 24 to 27.
        """
        evidence = self.evidence(batch)
        moves = self.cell.transition.log_softmax(-1)
        betas = [torch.zeros_like(evidence[:, 0])]
        for after in evidence[:, 1:].flip(1).unbind(1):
            beta = (moves + (after + betas[-1])[:, None]).logsumexp(-1)
            betas.append(beta.log_softmax(-1))
        belief = self._belief(*self.before(batch), self.encode(batch))
        weights = belief + evidence + torch.stack(betas[::-1], 1)
        return weights.log_softmax(-1)

    def most_likely_states(self, batch: Batch) -> Tensor:
        r"""The single most likely path of states, (B, T): the Viterbi algorithm.

        .. math:: \hat c_{1:T} = \arg\max_{c_{1:T}} p(c_{1:T} \mid x_{1:T})

        Reference: Rabiner, 1989, equations 32 to 35.
        """
        evidence, moves = self.evidence(batch), self.cell.transition.log_softmax(-1)
        best = self.cell.initial.log_softmax(-1) + evidence[:, 0]
        stay = torch.arange(moves.shape[0], device=moves.device).expand_as(best)
        origins = []
        for now, is_data in zip(
            evidence[:, 1:].unbind(1), batch.mask[:, 1:].unbind(1), strict=True
        ):
            score, origin = (best[..., None] + moves).max(-2)
            # The path ends with the sequence; padding after it has no effect.
            origins.append(torch.where(is_data[:, None], origin, stay))
            best = torch.where(is_data[:, None], score + now, best)
        path = [best.argmax(-1, keepdim=True)]
        for origin in reversed(origins):
            path.append(origin.gather(-1, path[-1]))
        return torch.cat(path[::-1], -1)

    def log_likelihood(self, batch: Batch) -> Tensor:
        """The log-likelihood of all sequences together, in nats."""
        belief = self._belief(*self.before(batch), self.encode(batch))
        joint = belief.log_softmax(-1) + self.evidence(batch)
        return (joint.logsumexp(-1) * batch.mask).sum()

    def evidence(self, batch: Batch) -> Tensor:
        """Log-likelihood of every frame by state, log p(x_t | c), (B, T, C); zero in padding."""
        now, _ = _now_and_before(self.encode(batch))
        return self._evidence(batch.x, batch.observed, now)

    def _emissions(self, given: Tensor | None) -> TorchDistribution:
        """A frame in every state: batch shape (C,), or with its conditions (..., U), (..., C)."""
        if self.slopes is None or given is None:
            return self.emission(self.by_state)
        return self.emission(self.by_state + torch.einsum("cku,...u->...ck", self.slopes, given))

    def _belief(self, past: Past, t: Tensor, encoded: Tensor | None) -> Tensor:
        """Belief about the state given the frames before, as log-probabilities (..., C)."""
        _, before = _now_and_before(encoded)
        evidence = self._evidence(past["x"], past.seen("x"), before)
        started = (t > 0).to(evidence.dtype)[..., None].expand(*evidence.shape[:-1], 1)
        return past.carry("belief", torch.cat([evidence, started], -1), self.cell)

    def _evidence(self, x: Tensor, seen: Tensor | None, given: Tensor | None) -> Tensor:
        """Log-likelihood of observed values by state, log p(x_t | c, u_t), (..., C)."""
        frame = partial(self._emissions(given), None if seen is None else seen[..., None, :])
        return frame.log_prob(x[..., None, :])


def _keep_loaded(model: nn.Module, _: object) -> None:
    """Prevent `begin` from replacing loaded parameters."""
    cast("HMM", model)._starts_from_data = False


def _now_and_before(encoded: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """The conditions of frames and of those before them, each (..., U)."""
    if encoded is None:
        return None, None
    now, before = encoded.chunk(2, -1)
    return now, before


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

    def outputs(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The beliefs of all frames, (..., T, C)."""
        return scan(self, drive, start)

    states = outputs
