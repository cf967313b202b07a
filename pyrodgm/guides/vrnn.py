"""The guide of variational recurrent networks, which shares their recurrence."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import GuideTraits, StepGuide, Target
from pyrodgm.networks.conditional import SMALL, normal_conditional


@final
class VRNNGuide(StepGuide):
    r"""The approximate posterior of a VRNN given the frames up to now.

    .. math:: q(z_t \mid z_{<t}, x_{\le t}) =
        \mathcal N(\mu(h_t, \varphi_x(x_t)), \mathrm{diag}\, \sigma^2(h_t, \varphi_x(x_t)))

    with the recurrence :math:`h_t` and the features :math:`\varphi_x` of the model, which runs once
    for both. With `residual`, the mean of the prior, :math:`\mu_p(h_t)`, is added to
    :math:`\mu`.

    Args:
        model: the model p, a `VRNN` or one with its `before`, `moved`, `prior`, `inputs`,
            `features_x`, `feature_dim` and `cell`.
        hidden_dim: units of the hidden layer; the model's `feature_dim` if not given.
        residual: whether the mean starts from that of the prior.

    Raises:
        CompatibilityError: the model has no such recurrence.

    Reference: Chung et al., A recurrent latent variable model for sequential data, 2015,
    equation 9; the residual form is that of Fraccaro et al., Sequential neural models with
    stochastic layers, 2016, equation 11.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="continuous",
        sequential=True,
        reparameterised=True,
        causal=True,
        recurrence="vrnn",
    )
    states = ("h",)

    def __init__(
        self,
        model: Target,
        *,
        hidden_dim: Annotated[int, Field(ge=1)] | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__(model)
        lacking = [name for name in SHARED if not hasattr(model, name)]
        if lacking:
            raise CompatibilityError(
                f"the guide 'vrnn' shares the recurrence of its model, but {type(model).__name__} "
                f"has no {', '.join(lacking)}; use the model 'vrnn', or another guide"
            )
        self.history = 1
        owner, (site,) = self.model, self.latents.values()
        width = owner.feature_dim if hidden_dim is None else hidden_dim
        self.posterior = normal_conditional(owner.cell.dim, site.dim, width, gain=SMALL)
        self.hidden_from_x = nn.Linear(owner.feature_dim, width, bias=False)
        self.residual = residual

    def encode(self, batch: Batch) -> Tensor:
        """Contributions of the frame itself and of the frames before it, (B, T, H + F + U)."""
        model = self.model
        now = self.hidden_from_x(model.features_x(model.inputs(batch.x)))
        return torch.cat([now, model.before(batch)], -1)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame given the latents before it and the frames up to now."""
        del t
        assert encoded is not None
        width = self.hidden_from_x.out_features
        now, before = encoded.split_with_sizes((width, encoded.shape[-1] - width), -1)
        h = self.model.moved(past, before)
        q = self.posterior.of_hidden(self.posterior.first(h) + now)
        if self.residual:
            q = NormalVector(self.model.prior(h).loc + q.loc, q.scale)
        draw("z", q)


SHARED = ("before", "moved", "prior", "inputs", "features_x", "feature_dim", "cell")
