"""A recognition network of rows with auxiliary variables, and its reverse model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, final

from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.auxiliary import AuxiliaryProgram, ReverseModel
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import Site, sizes
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import GuideTraits, Target
from pyrodgm.guides.rows import SPREAD, RowRecognition
from pyrodgm.networks.conditional import Conditional, family_of, normal_conditional
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.mlp import LEAK

SITE = "a"
MOST_AUXILIARY = 20


@final
class Auxiliary(AuxiliaryProgram, RowRecognition):
    r"""Latents of a row given auxiliary normal variables, so that they depend on each other.

    .. math:: q(a, z \mid x) = \mathcal N(a; \mu(x, u), \mathrm{diag}\, \sigma(x, u)^2)
        \prod_l q(z^l \mid a, x, u)

    for every latent site l, where u are conditions, if any. With a integrated out, z is a mixture,
    whose density is not known. The reverse model

    .. math:: r(a \mid x, z) = \mathcal N(a; m(x, z, u), \mathrm{diag}\, s(x, z, u)^2)

    gives the bound :math:`E_q[\log p(x, z) + \log r(a \mid x, z) - \log q(a, z \mid x)]`, which is
    below that of the mixture by :math:`E_q\, \mathrm{KL}(q(a \mid x, z), r(a \mid x, z))`; see
    `pyrodgm.engine.auxiliary`. Every objective learns r with the guide. Continuous latents are
    normal given a; bits have log-odds, and classes have logits, from the network of their site.

    Args:
        model: the model p; its categorical sites are one-hot and say their classes.
        auxiliary_dim: auxiliary variables of a row; by default as many as the model has latents,
            and at most 20.
        hidden_dim: rectified units of every hidden layer of every network; a number is a single
            layer.

    Raises:
        CompatibilityError: the model has a site of the name ``a``, or a categorical site that does
            not say its classes.

    Reference: Maaløe, Sønderby, Sønderby and Winther, Auxiliary deep generative models, 2016,
    equations 3 and 4; Ranganath, Tran and Blei, Hierarchical variational models, 2016.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents=("binary", "categorical", "continuous"),
        sequential=False,
        reparameterised=True,
        causal=True,
        auxiliary="continuous",
    )

    def __init__(
        self,
        model: Target,
        *,
        auxiliary_dim: Annotated[int, Field(ge=1)] | None = None,
        hidden_dim: LayerSizes = (200, 200),
    ) -> None:
        super().__init__(model)
        if SITE in (*model.latents, *model.observed):
            raise CompatibilityError(
                f"{type(model).__name__} has a site '{SITE}', which is the name of the auxiliary "
                "variables of the guide 'auxiliary'; rename the model's site"
            )
        total = sum(sizes(model.latents).values())
        dim = auxiliary_dim or min(total, MOST_AUXILIARY)
        self.reverse = NormalReverse(model, dim, hidden_dim)
        families = {name: family_of(site, spread=SPREAD) for name, site in self.latents.items()}
        self.latents = self.reverse.latents | self.latents
        self.start = normal_conditional(self.features_dim, dim, hidden_dim, shrink=1.0, leak=LEAK)
        self.posteriors = nn.ModuleDict(
            {
                name: Conditional(
                    self.features_dim + dim,
                    family,
                    hidden_dim,
                    start=family.start(),
                    shrink=1.0,
                    leak=LEAK,
                )
                for name, family in families.items()
            }
        )

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """The auxiliary variables of one row, and its latents given them."""
        del past, t
        assert encoded is not None
        features = join(encoded, draw(SITE, self.start(encoded)))
        for name, posterior in self.posteriors.items():
            draw(name, posterior(features))


@final
class NormalReverse(ReverseModel):
    r"""Normal auxiliary variables given a row and its latents.

    .. math:: r(a \mid x, z) = \mathcal N(a; m(x, z, u), \mathrm{diag}\, s(x, z, u)^2)

    Args:
        model: the model p.
        dim: auxiliary variables of a row.
        hidden_dim: rectified units of every hidden layer; a number is a single layer.
    """

    def __init__(self, model: Target, dim: int, hidden_dim: LayerSizes) -> None:
        super().__init__()
        self.latents = {SITE: Site(dim, "continuous")}
        self.names = tuple(model.latents)
        self.inputs, self.conditions = Inputs(model.info), Conditions(model.info)
        read = self.inputs.dim + self.conditions.dim + sum(sizes(model.latents).values())
        self.posterior = normal_conditional(read, dim, hidden_dim, shrink=1.0, leak=LEAK)

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every row, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(
        self, draw: Draw, drawn: Mapping[str, Tensor], encoded: Tensor | None, t: Tensor
    ) -> None:
        """The auxiliary variables of one row."""
        del t
        given = [] if encoded is None else [encoded]
        latents = [drawn[name] for name in self.names]
        draw(SITE, self.posterior(join(*latents, self.inputs(drawn["x"]), *given)))
