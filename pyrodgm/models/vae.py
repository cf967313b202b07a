"""Variational autoencoders: independent rows as a network's function of their latents."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import Field
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import Latents, Site, sizes
from pyrodgm.errors import UsageError
from pyrodgm.models.base import Companions, Form, ModelTraits, StepModel
from pyrodgm.models.dlgm import usual_latents
from pyrodgm.networks.conditional import Conditional, family_of
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import EmissionName, make_emission
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.mlp import LEAK, Leak
from pyrodgm.networks.pictures import Network, dense_layers, picture_output

Size = Annotated[int, Field(ge=1)]
Classes = Annotated[int, Field(ge=2)]
LatentsName = Literal["gaussian", "bernoulli", "categorical", "mixed", "codebook"]
WITH_CLASSES = ("categorical", "mixed", "codebook")
Prior = Literal["fixed", "learned"]
USUAL_CLASSES = 10
USUAL_CODE_DIM = 16
CODE_SCALE = 0.1
MOST_BITS = 200  # unless more are asked for


def _form(
    name: str,
    latents: Latents,
    guide: str = "factorised",
    objective: str = "rloo",
    *,
    codebook: bool = False,
) -> Form:
    """The form with discrete latents of some kinds."""
    return Form(
        f"VAE with latents={name}",
        ModelTraits(latents, sequential=False, conditions=True, codebook=codebook),
        Companions(guide, objective, "mnist"),
        {"latents": name},
    )


@final
class VAE(StepModel):
    r"""The generative model of a variational autoencoder, of independent rows.

    .. math:: z \sim p(z), \qquad x \mid z \sim \text{emission}(A h^L + a), \qquad
        h^l = r(C^l h^{l-1} + c^l), \qquad h^0 = (z, u)

    where u are conditions, if any, and r are leaky rectified units. The prior has independent
    parts:

    ================= ==================================== =========================================
    latents           z                                    p(z)
    ================= ==================================== =========================================
    ``gaussian``      J real numbers                       standard normal
    ``bernoulli``     J bits                               probabilities 0.5, or learned
    ``categorical``   J variables of C classes, one-hot    probabilities 1/C, or learned
    ``mixed``         J real numbers z, and a class y      standard normal; 1/C, or learned
    ``codebook``      as ``categorical``                   as ``categorical``
    ================= ==================================== =========================================

    With a codebook, :math:`h^0` has the code :math:`c_k` of every class instead of its one-hot
    coding, a row of the codebook (C, M) that all variables share.

    Args:
        info: the data's facts; its features are D.
        latents: "gaussian", "bernoulli", "categorical", "mixed" or "codebook".
        latent_dim: latent variables J; by default half the number of features, and at most 20
            numbers or categorical variables, or 200 bits. In "mixed" these are the numbers.
        classes: C of every categorical variable, which is the number of codes; 10 if not given.
        code_dim: numbers of a code M, 16 if not given.
        prior: of bits and classes: "fixed", or "learned".
        hidden_dim: rectified units of every hidden layer of the decoder; a number is a single
            layer. By default two layers of 200, and with convolutions one.
        leak: slope of these units below zero. With 0, all units may end where they are zero for
            every row, and nothing is learnt from there on; score gradients of bits do this.
        network: of the decoder: "dense"; or, for rows that are pictures, "conv", with transposed
            convolutions after the hidden layers, or their channels, the first next to the picture.
            "conv" is (32, 64).
        emission: distribution of a row; "auto" follows from the data.
        nade_dim: hidden units of the emission "nade", 100 if not given.

    Shapes: sites ``z`` (K, B, T, J), or (K, B, T, J C) for one-hot codings end to end; in "mixed"
    also ``y`` (K, B, T, C); and ``x`` (B, T, D). Frames of a sequence count as independent rows.

    Raises:
        DataError: the emission cannot score such data, or rows are not pictures for "conv".
        UsageError: classes or codes of latents that have none, or a learned prior of normal latents
            alone, which the decoder's first layer can already express; or, for "conv", an emission
            with parameters that belong to no pixel.

    Reference: Kingma and Welling, Auto-encoding variational Bayes, 2014; Jang, Gu and Poole,
    Categorical reparameterization with Gumbel-softmax, 2017, for categorical latents; Dupont,
    Learning disentangled joint continuous and discrete representations, 2018, for mixed ones; van
    den Oord, Vinyals and Kavukcuoglu, Neural discrete representation learning, 2017, for codebooks.
    """

    traits: ModelTraits = ModelTraits(latents="continuous", sequential=False, conditions=True)
    companions: ClassVar[Companions] = Companions("gaussian", "elbo", "mnist")
    forms: ClassVar[tuple[Form, ...]] = (
        _form("bernoulli", "binary"),
        _form("categorical", "categorical"),
        _form("mixed", ("categorical", "continuous")),
        _form("codebook", "categorical", "nearest-code", "vq", codebook=True),
    )
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"lr": 1e-3, "batch_size": 128})

    def __init__(  # noqa: PLR0913 - the signature is the schema of the options
        self,
        info: DataInfo,
        *,
        latents: LatentsName = "gaussian",
        latent_dim: Size | None = None,
        classes: Classes | None = None,
        code_dim: Size | None = None,
        prior: Prior = "fixed",
        hidden_dim: LayerSizes | None = None,
        leak: Leak = LEAK,
        network: Network = "dense",
        emission: EmissionName = "auto",
        nade_dim: Size | None = None,
    ) -> None:
        super().__init__(info)
        _check_options(latents, classes, code_dim, prior)
        hidden_dim = dense_layers(network, hidden_dim)
        self.history = 0
        self.traits = self.form({"latents": latents}).traits
        self.latents = _sites(latents, latent_dim, classes or USUAL_CLASSES, info)
        self.observed = {"x": info.dim}
        self.conditions = Conditions(info)
        self.emission = make_emission(emission, info, nade_dim)
        read = sum(sizes(self.latents).values())
        if latents == "codebook":
            site, code_dim = self.latents["z"], code_dim or USUAL_CODE_DIM
            # Of the size of the vectors that guides start with; farther codes would die at once.
            codes = torch.randn(site.dim // site.variables, code_dim)
            self.codebook = nn.Parameter(CODE_SCALE * codes)
            read = site.variables * code_dim
        self.decoder = Conditional(
            read + self.conditions.dim,
            self.emission,
            hidden_dim,
            start=self.emission.start(info),
            output=picture_output(network, info, self.emission, hidden_dim),
            leak=leak,
        )
        self.families = {name: family_of(site) for name, site in self.latents.items()}
        learned = {n for n, s in self.latents.items() if s.kind != "continuous"}
        self.prior = nn.ParameterDict(
            {n: nn.Parameter(self.families[n].start()) for n in learned if prior == "learned"}
        )

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every row, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One row: its latents from the prior, then the row from the decoder."""
        del past, t
        drawn = [draw(name, self.prior_of(name)) for name in self.latents]
        read = [self.codes(z) for z in drawn] if self.traits.codebook else drawn
        draw("x", self.decoded(join(*read), encoded))

    def decoded(self, read: Tensor, encoded: Tensor | None) -> TorchDistribution:
        """The distribution of a row given what the decoder reads of its latents, (..., J M).

        Args:
            read: latents as they are; or their codes, with a codebook.
            encoded: conditions of the row, or None.
        """
        return self.decoder(read if encoded is None else join(read, encoded))

    def codes(self, z: Tensor) -> Tensor:
        """The codes of one-hot codings (..., J C), end to end, (..., J M)."""
        return (z.unflatten(-1, (-1, len(self.codebook))) @ self.codebook).flatten(-2)

    def prior_of(self, name: str) -> TorchDistribution:
        """The prior of a latent site, event (D,)."""
        if name in self.prior:
            return self.families[name](self.prior[name])
        zeros = self.decoder.last.bias.new_zeros(self.latents[name].dim)
        if self.latents[name].kind == "continuous":
            return NormalVector(zeros, zeros + 1)
        return self.families[name](zeros)


def _sites(
    latents: LatentsName, number: int | None, classes: int, info: DataInfo
) -> dict[str, Site]:
    """The latent sites by name."""
    usual = min((info.dim + 1) // 2, MOST_BITS) if latents == "bernoulli" else usual_latents(info)
    number = number or usual
    if latents in ("categorical", "codebook"):
        return {"z": Site(number * classes, "categorical", classes=classes)}
    if latents == "bernoulli":
        return {"z": Site(number, "binary")}
    numbers = {"z": Site(number, "continuous")}
    if latents == "gaussian":
        return numbers
    return numbers | {"y": Site(classes, "categorical", classes=classes)}


def _check_options(
    latents: LatentsName, classes: int | None, code_dim: int | None, prior: Prior
) -> None:
    """Refuse options that would do nothing."""
    for name, value, users in (
        ("classes", classes, WITH_CLASSES),
        ("code_dim", code_dim, ("codebook",)),
    ):
        if value is not None and latents not in users:
            raise UsageError(
                f"{name} is {value}, but latents='{latents}' has none; leave it out, or give "
                f"latents={' or '.join(map(repr, users))}"
            )
    if prior == "learned" and latents == "gaussian":
        raise UsageError(
            "prior is 'learned', but normal latents have the standard normal prior: another mean "
            "and scale would only repeat the first layer of the decoder; leave prior out"
        )
