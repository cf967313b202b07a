"""A recognition network of rows followed by Hamiltonian steps on the model's log-density."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.distributions import NormalVector, partial
from pyrodgm.engine.auxiliary import AuxiliaryProgram, ReverseModel
from pyrodgm.engine.frozen import frozen
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.engine.sites import Site, sizes
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import GuideTraits, Target
from pyrodgm.guides.rows import SPREAD, RowRecognition
from pyrodgm.networks.conditional import normal_conditional
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.mlp import LEAK


@final
class Hamiltonian(AuxiliaryProgram, RowRecognition):
    r"""Normal latents of a row, moved by Hamiltonian steps with momenta of their own.

    .. math:: s_0 \sim \mathcal N(\mu(x, u), \mathrm{diag}\, \sigma(x, u)^2), \qquad
        s_t = s_{t-1} + \epsilon_t v_t
            + \tfrac12 \epsilon_t^2 \nabla_s \log p(x, s_{t-1}), \quad v_t \sim \mathcal N(0, I)

    for t = 1 .. S, and the latents of all sites, side by side, are :math:`z = s_S`; u are
    conditions, if any. A step is one leapfrog step from a new momentum :math:`v_t`, with a step
    size for every latent. It ends with the momentum
    :math:`v_t' = v_t + \tfrac12 \epsilon_t (\nabla \log p(x, s_{t-1}) + \nabla \log p(x, s_t))`,
    and the reverse model

    .. math:: r(v_t' \mid x, s_t) = \mathcal N(v_t'; m_t(x, s_t, u), \mathrm{diag}\,
        \varsigma_t(x, s_t, u)^2)

    gives the bound :math:`E[\log p(x, z) + \sum_t \log r(v_t' \mid x, s_t) - \log q(s_0 \mid x)
    - \sum_t \log \mathcal N(v_t; 0, I)]`. Leapfrog steps preserve volume. The auxiliary sites are
    the states ``s0``, ``s1``, ... before the last one, since for given :math:`s_t` the momenta are
    linear in :math:`s_{t-1}`, both with the factor :math:`\epsilon_t`, which cancels.

    The model's weights are constants in the steps: the gradient for the model is that of the bound
    for a fixed guide, and leaves out the effect of its weights on the draws.

    Args:
        model: the model p, a step model of rows whose latent sites are continuous.
        steps: Hamiltonian steps S.
        step_size: :math:`\epsilon` that all steps and latents start from.
        hidden_dim: rectified units of every hidden layer of every network; a number is a single
            layer.

    Raises:
        CompatibilityError: the model is not a step model of rows, or has a site ``s0``.

    Reference: Salimans, Kingma and Welling, Markov chain Monte Carlo and variational inference:
    bridging the gap, 2015, algorithm 2 and section 3, with one leapfrog step for every momentum.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="continuous",
        sequential=False,
        reparameterised=True,
        causal=True,
        auxiliary="continuous",
        evaluates=True,
    )
    reverse: MomentumReverse

    def __init__(
        self,
        model: Target,
        *,
        steps: Annotated[int, Field(ge=1)] = 1,
        step_size: Annotated[float, Field(gt=0)] = 0.1,
        hidden_dim: LayerSizes = (200, 200),
    ) -> None:
        super().__init__(model)
        self.log_density = LogDensity(model)
        self.reverse = MomentumReverse(model, steps, step_size, hidden_dim)
        self.parts = tuple(sizes(self.latents).values())
        self.latents = self.reverse.latents | self.latents
        self.start = normal_conditional(
            self.features_dim,
            sum(self.parts),
            hidden_dim,
            shrink=1.0,
            spread=SPREAD,
            leak=LEAK,
        )

    def encode(self, batch: Batch) -> Tensor:
        """Features of the rows, the rows, and what else their density needs, (B, T, E)."""
        known = self.log_density.encode(batch)
        parts = [super().encode(batch), batch.x, *([] if known is None else [known])]
        return torch.cat(parts, -1)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """The states of one row, one after the other, and its latents."""
        del past
        assert encoded is not None
        width = self.log_density.width
        features, rest = encoded[..., : self.features_dim], encoded[..., self.features_dim :]
        x, known = rest[..., :width], rest[..., width:]
        following = self.start(features)
        for name, size in zip(self.reverse.latents, self.reverse.log_steps.exp(), strict=True):
            s = draw(name, following)
            force = self.log_density.slope(s, x, known, t)
            following = NormalVector(s + 0.5 * size.square() * force, size.expand_as(s))
        at, scale = (each.split(self.parts, -1) for each in (following.loc, following.scale))
        for name, *numbers in zip(self.log_density.names, at, scale, strict=True):
            draw(name, NormalVector(*numbers))


@final
class MomentumReverse(ReverseModel):
    r"""The distribution of a state given the one after it, by that of the momentum there.

    .. math:: s_{t-1} = s_t + \tfrac12 \epsilon_t^2 \nabla \log p(x, s_t) - \epsilon_t v_t', \qquad
        v_t' \sim \mathcal N(m_t(x, s_t, u), \mathrm{diag}\, \varsigma_t(x, s_t, u)^2)

    Args:
        model: the model p.
        steps: Hamiltonian steps S.
        step_size: that all steps and latents start from.
        hidden_dim: rectified units of every hidden layer; a number is a single layer.

    Attributes:
        log_steps: logarithms of the step sizes, (S, J).
    """

    def __init__(self, model: Target, steps: int, step_size: float, hidden_dim: LayerSizes) -> None:
        super().__init__()
        self.log_density = LogDensity(model)
        dim = sum(sizes(model.latents).values())
        self.latents = {f"s{t}": Site(dim, "continuous") for t in range(steps)}
        if taken := self.latents.keys() & {*model.latents, *model.observed}:
            raise CompatibilityError(
                f"{type(model).__name__} has a site '{min(taken)}', which is the name of a state "
                "of the guide 'hamiltonian'; rename the model's site"
            )
        self.inputs, self.conditions = Inputs(model.info), Conditions(model.info)
        self.log_steps = nn.Parameter(torch.full((steps, dim), step_size).log())
        read = self.inputs.dim + self.conditions.dim + dim
        self.momenta = nn.ModuleList(
            normal_conditional(read, dim, hidden_dim, shrink=1.0, leak=LEAK) for _ in range(steps)
        )

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every row, and what the density needs, (B, T, E); None if nothing."""
        found = [self.conditions(batch), self.log_density.encode(batch)]
        parts = [each for each in found if each is not None]
        return torch.cat(parts, -1) if parts else None

    def step(
        self, draw: Draw, drawn: Mapping[str, Tensor], encoded: Tensor | None, t: Tensor
    ) -> None:
        """The states of one row, from the last one to the first."""
        x, given = drawn["x"], self.conditions.dim
        encoded = x.new_zeros(0) if encoded is None else encoded
        conditions, known = encoded[..., :given], encoded[..., given:]
        read = [self.inputs(x), *([conditions] if given else [])]
        s = join(*(drawn[name] for name in self.log_density.names))
        for number, name in reversed([*enumerate(self.latents)]):
            size = self.log_steps[number].exp()
            force = self.log_density.slope(s, x, known, t)
            momentum = self.momenta[number](join(s, *read))
            mean = s + 0.5 * size.square() * force - size * momentum.loc
            s = draw(name, NormalVector(mean, size * momentum.scale))


class LogDensity:
    r"""The log-density :math:`\log p(x, s)` of a row, with all latents side by side, (..., J).

    The model's weights are constants.

    Args:
        model: the model p, a step model of rows.

    Attributes:
        names: of the latent sites.
        width: numbers of a row, D.

    Raises:
        CompatibilityError: another model.
    """

    def __init__(self, model: Target) -> None:
        program = isinstance(model, SequenceProgram)
        if not program or not isinstance(model, nn.Module) or model.history:
            raise CompatibilityError(
                f"{type(model).__name__} is not defined by steps of single rows, and the guide "
                "'hamiltonian' evaluates its density; derive it from StepModel with history 0, or "
                "take the guide 'gaussian'"
            )
        self.model = model
        self.names = tuple(model.latents)
        self.parts = tuple(sizes(model.latents).values())
        self.width = sum(model.observed.values())
        blank = next(model.parameters(), torch.zeros(())).new_zeros(1, 1, self.width)
        given = model.info.num_conditions
        own = model.encode(Batch.of(blank, blank.new_zeros(1, 1, given) if given else None))
        self.own_dim = 0 if own is None else own.shape[-1]

    def encode(self, batch: Batch) -> Tensor | None:
        """The model's features of rows, and what was observed of them; None if there is nothing."""
        found = [self.model.encode(batch), None if batch.seen is None else batch.seen.to(batch.x)]
        parts = [each for each in found if each is not None]
        return torch.cat(parts, -1) if parts else None

    def slope(self, s: Tensor, x: Tensor, known: Tensor, t: Tensor) -> Tensor:
        r"""The gradient :math:`\nabla_s \log p(x, s)`, (..., J).

        It can be differentiated once more, with respect to s.

        Args:
            s: the latents, (..., J).
            x: rows, (..., D).
            known: what `encode` gave for them, (..., E); empty if that is None.
            t: frame numbers.
        """
        kept = torch.is_grad_enabled() and s.requires_grad
        with torch.enable_grad(), frozen(self.model.parameters()):
            at = s if s.requires_grad else s.detach().requires_grad_()
            nats = self._log_prob(at, x, known, t).sum()
            (found,) = torch.autograd.grad(nats, at, create_graph=kept)
        return found

    def _log_prob(self, s: Tensor, x: Tensor, known: Tensor, t: Tensor) -> Tensor:
        """The log-density, with the latents' leading dimensions."""
        values = dict(zip(self.names, s.split(self.parts, -1), strict=True))
        own, seen = known[..., : self.own_dim], known[..., self.own_dim :]
        nats: list[Tensor] = []

        def draw(name: str, distribution: TorchDistribution) -> Tensor:
            latent = name in values
            mask = None if latent or not seen.shape[-1] else seen.bool()
            nats.append(partial(distribution, mask).log_prob(values[name] if latent else x))
            return values[name] if latent else x

        past = Past({name: s.new_zeros(*s.shape[:-1], 0) for name in self.names})
        self.model.step(draw, past, own if self.own_dim else None, t)
        return sum(nats, s.new_zeros(()))
