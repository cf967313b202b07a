"""A recognition network of rows whose latents are normal given noise, with a lower bound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.auxiliary import AuxiliaryProgram, ReverseModel
from pyrodgm.engine.past import Draw, Past, join
from pyrodgm.engine.sites import Site
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import GuideTraits, Target
from pyrodgm.guides.rows import SPREAD, RowRecognition
from pyrodgm.networks.conditional import normal_conditional
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.mlp import LEAK
from pyrodgm.networks.pictures import Network, dense_layers

SITE = "noise"
SINGLE = torch.Size()


@final
class SemiImplicit(AuxiliaryProgram, RowRecognition):
    r"""Normal latents of a row given noise that a network reads beside the row.

    .. math:: q(z \mid x) = E_{\epsilon \sim \mathcal N(0, I)}\, q(z \mid x, \epsilon), \qquad
        q(z \mid x, \epsilon) = \prod_l \mathcal N\big(z^l; \mu^l(x, u, \epsilon),
            \mathrm{diag}\, \sigma^l(x, u, \epsilon)^2\big)

    for every latent site l, where u are conditions, if any. The mixture may have any shape, and its
    density is not known. K noises are drawn with every draw, of which the first gives z, and

    .. math:: E \log \tfrac1K \sum_k q(z \mid x, \epsilon_k) \ge E \log q(z \mid x)

    stands for its log-density. Objectives with it have a lower bound that increases to the evidence
    lower bound with K, and importance weights whose mean is p(x): the noises are auxiliary sites,
    and the reverse model (`SharedNoise`) gives the bound above.

    Args:
        model: the model p, whose latent sites are continuous.
        noise_dim: noise variables of a row, N.
        noises: K, at least 2; a draw costs K passes of the networks.
        hidden_dim: rectified units of every hidden layer; a number is a single layer. By default
            two layers of 200, and with convolutions one.
        network: "dense"; or, for rows that are pictures, "conv" or the channels of convolutions.

    Raises:
        CompatibilityError: the model has a site of the name ``noise``.
        DataError: rows are not pictures for "conv".

    Reference: Yin and Zhou, Semi-implicit variational inference, 2018, equation 8; as a bound with
    auxiliary variables: Sobolev and Vetrov, Importance weighted hierarchical variational inference,
    2019, section 3.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="continuous",
        sequential=False,
        reparameterised=True,
        causal=True,
        auxiliary="continuous",
    )

    def __init__(
        self,
        model: Target,
        *,
        noise_dim: Annotated[int, Field(ge=1)] = 16,
        noises: Annotated[int, Field(ge=2)] = 16,
        hidden_dim: LayerSizes | None = None,
        network: Network = "dense",
    ) -> None:
        super().__init__(model, network=network)
        if SITE in (*model.latents, *model.observed):
            raise CompatibilityError(
                f"{type(model).__name__} has a site '{SITE}', which is the name of the auxiliary "
                "variables of the guide 'semi-implicit'; rename the model's site"
            )
        self.noise_dim, self.noises = noise_dim, noises
        features, hidden_dim = self.features_dim + noise_dim, dense_layers(network, hidden_dim)
        self.posteriors = nn.ModuleDict(
            {
                name: normal_conditional(
                    features, site.dim, hidden_dim, shrink=1.0, spread=SPREAD, leak=LEAK
                )
                for name, site in self.latents.items()
            }
        )
        self.reverse = SharedNoise(self)
        self.latents = self.reverse.latents | self.latents

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """The noises of one row, and its latents given the first."""
        del past, t
        assert encoded is not None
        zeros = encoded.new_zeros(self.noises * self.noise_dim)
        noise = draw(SITE, NormalVector(zeros, torch.ones_like(zeros)))
        features = join(encoded, noise[..., : self.noise_dim])
        for name, posterior in self.posteriors.items():
            draw(name, posterior(features))

    def log_given(self, encoded: Tensor, noise: Tensor, latents: Mapping[str, Tensor]) -> Tensor:
        r"""The log-density of latents given each noise, :math:`\log q(z \mid x, \epsilon_k)`.

        Args:
            encoded: features of rows, (..., E).
            noise: (..., K N).
            latents: of every site, (..., J).

        Returns:
            nats, (K, ...).
        """
        each = torch.stack(noise.split(self.noise_dim, -1))
        features = join(encoded, each)
        return torch.stack(
            [found(features).log_prob(latents[name]) for name, found in self.posteriors.items()]
        ).sum(0)


@final
class SharedNoise(ReverseModel):
    r"""The noises of a row given its latents, where each of them may have been the one used.

    .. math:: r(\epsilon_{1:K} \mid x, z) = \prod_k \mathcal N(\epsilon_k; 0, I)\;
        q(z \mid x, \epsilon_1) \Big/ \tfrac1K \sum_k q(z \mid x, \epsilon_k)

    It is normalised, as the mean of the last two factors over the order of the noises is one. It
    has no weights of its own.

    Args:
        guide: q, whose networks it reads.
    """

    def __init__(self, guide: SemiImplicit) -> None:
        super().__init__()
        self.latents = {SITE: Site(guide.noises * guide.noise_dim, "continuous")}
        self.names = tuple(guide.latents)
        self.of = (guide,)  # in a tuple, as the guide is no part of its reverse model

    def encode(self, batch: Batch) -> Tensor:
        """The guide's features of every row, (B, T, E)."""
        return self.of[0].encode(batch)

    def step(
        self, draw: Draw, drawn: Mapping[str, Tensor], encoded: Tensor | None, t: Tensor
    ) -> None:
        """The noises of one row."""
        del t
        assert encoded is not None
        latents = {name: drawn[name] for name in self.names}
        draw(SITE, NoisesGivenLatents(self.of[0], encoded, latents))


class NoisesGivenLatents(TorchDistribution):
    r"""The distribution of `SharedNoise`.

    A draw is K standard normal noises, of which one is put first: each with a probability in
    proportion to :math:`q(z \mid x, \epsilon_k)`.

    Args:
        guide: q.
        encoded: features of rows, (..., E).
        latents: of every site, (..., J).
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(self, guide: SemiImplicit, encoded: Tensor, latents: Mapping[str, Tensor]) -> None:
        self.guide, self.encoded, self.given = guide, encoded, latents
        leading = [value.shape[:-1] for value in (encoded, *latents.values())]
        self._batch_shape = torch.broadcast_shapes(*leading)
        self._event_shape = torch.Size((guide.noises * guide.noise_dim,))
        self._validate_args = False

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> NoisesGivenLatents:
        """The same over a larger batch."""
        encoded = self.encoded.expand(*batch_shape, self.encoded.shape[-1])
        return NoisesGivenLatents(self.guide, encoded, self.given)

    def sample(self, sample_shape: torch.Size = SINGLE) -> Tensor:
        """All noises of a row, without gradients."""
        with torch.no_grad():
            noise = self.encoded.new_empty(self.shape(sample_shape)).normal_()
            each = torch.stack(noise.split(self.guide.noise_dim, -1), -2)
            nats = self.guide.log_given(self.encoded, noise, self.given).movedim(0, -1)
            first = torch.distributions.Categorical(logits=nats).sample()[..., None, None]
            chosen = first.expand(*each.shape[:-2], 1, each.shape[-1])
            found = each.gather(-2, chosen)
            each = each.scatter(-2, chosen, each[..., :1, :])
            return torch.cat([found, each[..., 1:, :]], -2).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats of all noises of a row."""
        nats = self.guide.log_given(self.encoded, value, self.given)
        standard = NormalVector(torch.zeros_like(value), torch.ones_like(value))
        return standard.log_prob(value) + nats[0] - nats.logsumexp(0) + math.log(len(nats))
