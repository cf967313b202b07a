"""A factorised guide of rows, refined for every row by gradient steps on its own bound."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.refinement import Posterior, moved, no_moves, sampled_bounds
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.engine.sites import sizes
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import GuideTraits, StepGuide, Target
from pyrodgm.guides.rows import DiagonalNormal
from pyrodgm.networks.layers import LayerSizes

MOST_SLOPE = 1.0  # of a parameter, which bounds a step where the start is far from the optimum


@final
class RefinedNormal(StepGuide):
    r"""Independent normal latents, moved for every row by steps along the gradient of its bound.

    .. math:: \lambda_0 = (\mu(x, u), \sigma(x, u)), \qquad
        \lambda_{s+1} = \lambda_s + \eta \, \nabla_\lambda L(\lambda_s; x), \qquad
        q(z \mid x) = \mathcal N(z; \lambda_S)

    where u are conditions, if any, and :math:`L(\lambda; x) = E_q[\log p(x, z) - \log q(z)]` is
    estimated from draws whose noise is fixed. So the guide is a function of the row, and its
    density of given values is that of its draws. Means move in units of their own standard
    deviation, scales by factors, and no slope counts more than 1 nat per unit.

    Gradients of learning flow through :math:`\lambda_0` as if the moves were constants; this leaves
    out the second derivatives of the semi-amortised gradient. The model has its gradient at the
    refined draws.

    Args:
        model: the model p, a step model of rows whose latent sites are continuous.
        steps: gradient steps S of every row.
        step_size: :math:`\eta`.
        step_draws: draws in every step; a second half has the noise of the first with other signs.
        hidden_dim: rectified units of every hidden layer of the network of the row; a number is a
            single layer.

    Raises:
        CompatibilityError: the model is not defined by steps.

    Reference: Kim, Wiseman, Miller, Sontag and Rush, Semi-amortized variational autoencoders, 2018,
    algorithm 1; Ou, A review of learning with deep generative models, section 3.2.1(5).
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="continuous",
        sequential=False,
        reparameterised=True,
        causal=True,
        evaluates=True,
    )

    def __init__(
        self,
        model: Target,
        *,
        steps: Annotated[int, Field(ge=1)] = 5,
        step_size: Annotated[float, Field(gt=0)] = 0.2,
        step_draws: Annotated[int, Field(ge=2)] = 4,
        hidden_dim: LayerSizes = (200, 200),
    ) -> None:
        super().__init__(model)
        if not isinstance(model, SequenceProgram):
            raise CompatibilityError(
                f"{type(model).__name__} is not defined by steps, and the guide 'refined' "
                "evaluates its density; derive it from StepModel, or take the guide 'gaussian'"
            )
        self.history = 0
        self.steps, self.step_size = steps, step_size
        self.start = DiagonalNormal(model, hidden_dim=hidden_dim)
        half = torch.randn((step_draws + 1) // 2, sum(sizes(self.latents).values()))
        self.register_buffer("noise", torch.cat([half, -half])[:step_draws])

    noise: Tensor

    def encode(self, batch: Batch) -> Tensor:
        """Means and standard deviations of all sites after the steps, (B, T, 2 J)."""
        features = self.start.encode(batch)
        start: Posterior = {
            name: posterior(features) for name, posterior in self.start.posteriors.items()
        }
        found = moved(start, self._moves(start, batch))
        return torch.cat([part for each in found.values() for part in (each.loc, each.scale)], -1)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """The latents of one row, independent of each other given the row."""
        del past, t
        assert encoded is not None
        dims = sizes(self.latents)
        parts = encoded.split([2 * dim for dim in dims.values()], -1)
        for name, numbers in zip(dims, parts, strict=True):
            draw(name, NormalVector(*numbers.chunk(2, -1)))

    def _moves(self, start: Posterior, batch: Batch) -> dict[str, Tensor]:
        """The moves of all steps, by site, (B, T, 2 J), without gradients."""
        held: Posterior = {
            name: NormalVector(each.loc.detach(), each.scale.detach())
            for name, each in start.items()
        }
        parts = self.noise.split(list(sizes(self.latents).values()), -1)
        noise = {
            name: part[:, None, None].expand(-1, *batch.mask.shape, -1)
            for name, part in zip(self.latents, parts, strict=True)
        }
        moves = no_moves(held)
        for _ in range(self.steps):
            moves = {name: move.requires_grad_() for name, move in moves.items()}
            with torch.enable_grad():
                _, surrogate = sampled_bounds(self.model, moved(held, moves), batch, noise)
                slopes = torch.autograd.grad(surrogate.mean(0).sum(), list(moves.values()))
            moves = {
                name: move.detach() + self.step_size * slope.clamp(-MOST_SLOPE, MOST_SLOPE)
                for (name, move), slope in zip(moves.items(), slopes, strict=True)
            }
        return moves
