"""The evidence lower bound of relaxed bits and classes."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar, Literal, Unpack, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import concrete, relaxed_log_probs
from pyrodgm.engine.auxiliary import extended
from pyrodgm.engine.draws import draw, factors
from pyrodgm.engine.rollout import Surrogate
from pyrodgm.engine.terms import Terms, path_terms, terms
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import DISCRETE, Loss, Needs
from pyrodgm.objectives.kl import KLOptions
from pyrodgm.objectives.schedule import Positive, scheduled
from pyrodgm.objectives.single import SinglePhase, sequence_mean
from pyrodgm.objectives.targets import Targets

Density = Literal["relaxed", "discrete"]


@final
class Concrete(SinglePhase):
    r"""The evidence lower bound of relaxed bits and classes, with path gradients.

    .. math::
        z = \sigma\big((l_q - \varepsilon) / \tau\big), \qquad
        L = E_\varepsilon\big[\log p(x \mid z) + \log p(z) - \log q(z \mid x)\big]

    with standard logistic noise and log-odds :math:`l_q` of the guide, :math:`l_p` of the model,
    which depend on the relaxed bits of the frames and layers before. It can mean three things:

    - ``density="relaxed"``: the densities of relaxed bits at z, both at temperature :math:`\tau`,

      .. math:: \log p(z) - \log q(z \mid x) = \log f(l_p - l_q + \varepsilon)
          - \log f(\varepsilon), \qquad f(\varepsilon) = \sigma(\varepsilon) \sigma(-\varepsilon)

      L is a lower bound on the log-likelihood of the model with relaxed latents, and its gradient
      is unbiased. The KL term is that of logistic distributions, at every temperature: it exceeds
      that of the bits by the KL term of the noise given the bits. As :math:`\tau \to 0`, L
      therefore tends to a lower bound of the discrete model that is below its evidence lower bound.
    - ``density="discrete"``: the log-probabilities of bits, :math:`z l - \log(1 + e^l)`, at z. L is
      an estimate and no bound, and tends to the evidence lower bound as :math:`\tau \to 0`. Its
      gradient is that of this estimate.
    - ``hard=True``: bits :math:`[\varepsilon < l_q]` that pass on the gradient of z. L is the
      evidence lower bound itself; its gradient for the model is unbiased, and that for the guide is
      biased at every temperature (straight-through Gumbel).

    One-hot codings are relaxed in the same way, by a softmax (Gumbel-softmax):

    .. math:: z_j = \mathrm{softmax}\big((l_{q,j} + g_j) / \tau\big), \qquad
        \log p(z) - \log q(z \mid x) = \sum_j \log f(l_{p,j} - l_{q,j} - g_j) - \log f(-g_j)

    with standard Gumbel noise g and :math:`\log f(a) = \sum_c a_c - C \log \sum_c e^{a_c}`, and
    continuous latents beside them have path gradients.

    Lower temperatures bring z nearer to bits and raise the variance of the gradient. Reports are of
    L. Validation is of the discrete model, with draws of bits.

    Args:
        model: the model p, with binary or one-hot categorical latents.
        guide: the guide q.
        particles: number of draws K.
        temperature: :math:`\tau`, a positive number or a schedule, such as
            ``exponential:1:0.3:20000``.
        hard: whether the values are bits and codings.
        density: "relaxed" or "discrete"; by default relaxed, and discrete with hard values.

    Raises:
        UsageError: the density of relaxed values for hard ones.

    Reference: Maddison, Mnih and Teh, The concrete distribution, 2017, appendices B and C;
    Jang, Gu and Poole, Categorical reparameterization with Gumbel-softmax, 2017.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets(
            "V-LB, relaxed",
            "V-LB, relaxed",
            "Maddison et al. 2017",
            "density=relaxed",
        ),
        Targets("V-LB, biased", "V-LB, biased", "Maddison et al. 2017", "density=discrete"),
        Targets("V-LB", "V-LB, biased", "section 3.2.1; Jang et al. 2017", "hard=True"),
    )
    needs: ClassVar[Needs] = DISCRETE
    headline: ClassVar[str] = "concrete_nats_per_frame"

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=1)] = 1,
        temperature: Positive = 0.5,
        hard: bool = False,
        density: Density | None = None,
        **kl: Unpack[KLOptions],
    ) -> None:
        super().__init__(model, guide, particles=particles, execution="fused", **kl)
        if hard and density == "relaxed":
            raise UsageError(
                "bits have no relaxed density, which 'hard' with density 'relaxed' asks for; give "
                "one of the two"
            )
        self.hard = hard
        self.density: Density = density or ("discrete" if hard else "relaxed")
        self.temperature = scheduled(temperature)
        self._changed: dict[str, Tensor] = {}

    def trace(self, batch: Batch) -> Terms:
        """Log-probabilities of K draws that carry gradients."""
        temperature = self.temperature()
        if isinstance(temperature, Tensor):
            self._changed = {"temperature": temperature}
        kind = partial(concrete, temperature=temperature, hard=self.hard)
        if self.hard:
            draws = draw(self.guide, batch, self.particles, surrogate=kind)
            return path_terms(self.model, self.guide, batch, draws.values, draws.encoded)
        if self.density == "discrete":
            return terms(self.model, self.guide, batch, self.particles, surrogate=kind)
        return self._relaxed(batch, kind)

    def _relaxed(self, batch: Batch, surrogate: Surrogate) -> Terms:
        """Terms whose discrete sites have the densities of relaxed values."""
        draws = draw(self.guide, batch, self.particles, keep_noise=True, surrogate=surrogate)
        target = extended(self.model, self.guide)
        of_model, of_guide = factors(target, batch, draws.values), draws.factors
        p = {name: factor.log_prob for name, factor in of_model.items()}
        q = {name: factor.log_prob for name, factor in of_guide.items()}
        zero = batch.x.new_zeros(())
        for name, site in self.guide.latents.items():
            if site.pathwise:
                continue
            pair = of_model[name].distribution, of_guide[name].distribution
            log_p, log_q = relaxed_log_probs(*pair, draws.noise[name], draws.values[name])
            p[name] = torch.where(batch.mask, log_p, zero)
            q[name] = torch.where(batch.mask, log_q, zero)
        shape = (self.particles, batch.size, batch.length)
        p = {name: nats.expand(shape) for name, nats in p.items()}
        return Terms(p=p, q=q, path=q, score={}, values=draws.values, mask=batch.mask, x=batch.x)

    def estimate(self, terms: Terms) -> Loss:
        """Minus L, per sequence."""
        (bound,) = terms.report().values()
        report = {self.headline: bound} | self._changed
        return Loss(-sequence_mean(terms.direct), report, terms.by_name())
