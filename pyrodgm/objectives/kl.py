"""The KL term of the evidence lower bound in learning: its weight, and free bits."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

import torch
from torch import Tensor, nn

from pyrodgm.distributions import divergence
from pyrodgm.engine.terms import Terms
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.objectives.schedule import Fixed, NonNegative, scheduled


class KLOptions(TypedDict, total=False):
    """The options of `KLTerm`, which constructors of objectives pass on to `SinglePhase`."""

    kl_weight: NonNegative
    free_bits: NonNegative


class KLTerm(nn.Module):
    r"""What is learnt in the place of the evidence lower bound, if the KL term has a weight.

    .. math::
        L &= E_q \log p(x \mid z) - \beta \sum_i \max(\lambda, \overline{\mathrm{KL}}_i) \\
        \overline{\mathrm{KL}}_i &= E_{x, t}\,
        E_q[\log q(z^i_t \mid \cdot) - \log p(z^i_t \mid \cdot)]

    for the latent sites i. The mean is over the frames and draws of a batch, of one process. Where
    it is at most :math:`\lambda`, the term of the site has no gradient. Being an estimate from the
    same draws, it makes the threshold random in small batches. Reports and validation are of the
    evidence lower bound itself.

    Args:
        kl_weight: :math:`\beta`, a number or a schedule, such as ``linear:0:1:5000``.
        free_bits: :math:`\lambda`, nats per site and frame, of all its dimensions together; a
            number or a schedule.

    Reference: Bowman et al., Generating sentences from a continuous space, 2016; Higgins et al.,
    beta-VAE, 2017; Kingma et al., Improving variational inference with inverse autoregressive flow,
    2016, equation 15, whose groups of dimensions are the sites here.
    """

    def __init__(self, kl_weight: float | str, free_bits: float | str) -> None:
        super().__init__()
        self.weight, self.free = scheduled(kl_weight), scheduled(free_bits)
        self.report: dict[str, Tensor] = {}

    def refuse_sites_of(self, guide: Guide) -> None:
        """Raise where the term of a site is no KL divergence, and free bits have no meaning.

        The terms of z and of an auxiliary site a are parts of a bound on KL(q(z | x), p(z)); that
        of a is usually negative.

        Raises:
            UsageError: free bits with a guide that draws auxiliary sites.
        """
        free = isinstance(self.free, Fixed) and self.free() == 0
        if not free and guide.traits.auxiliary != "none":
            raise UsageError(
                f"free_bits need the KL term of every latent site, but {type(guide).__name__} "
                "draws auxiliary sites, with which only a bound on their sum is known; leave "
                "free_bits out, or use kl_weight"
            )

    @property
    def plain(self) -> bool:
        """Whether this is the evidence lower bound itself."""
        weight, free = self.weight, self.free
        return (
            isinstance(weight, Fixed) and isinstance(free, Fixed) and (weight(), free()) == (1, 0)
        )

    def forward(self, terms: Terms) -> Terms:
        """The terms, with the weights of their latent sites in this step."""
        if self.plain:
            return terms
        weight, free = (
            torch.as_tensor(each()).to(terms.log_p) for each in (self.weight, self.free)
        )
        self.report = {"kl_weight": weight, "free_nats": free}
        if isinstance(self.free, Fixed) and self.free() == 0:
            return replace(terms, kl_weights=dict.fromkeys(terms.q, weight))
        frames = terms.mask.sum() * terms.particles
        counts = {name: (kl.detach().sum() / frames > free) for name, kl in terms.kl.items()}
        return replace(terms, kl_weights={name: weight * on for name, on in counts.items()})


def exact_kl(terms: Terms) -> dict[str, Tensor]:
    r"""The KL terms of the bound in closed form, by site, (K, B, T), zero where padded.

    .. math:: \mathrm{KL}\big(q(z_t \mid z_{<t}, x), p(z_t \mid z_{<t}, x_{<t})\big)

    Their expectation over the draws before is that of log q - log p where the model's distribution
    of a site depends on nothing that the guide draws after it.

    Args:
        terms: of draws from the guide, with the distributions that scored them.

    Raises:
        CompatibilityError: there is no closed form.
    """
    return {
        name: divergence(q, terms.prior_of[name])
        .expand(terms.q[name].shape)
        .masked_fill(~terms.mask, 0.0)
        for name, q in terms.drawn_from.items()
    }


def with_exact_kl(terms: Terms) -> Terms:
    """The terms with log q - log p of every latent replaced by its divergence, `exact_kl`."""
    divergences = exact_kl(terms)
    zeros = {name: torch.zeros_like(nats) for name, nats in divergences.items()}
    p = {**terms.p, **{name: -nats for name, nats in divergences.items()}}
    return replace(terms, p=p, q=zeros, path={name: zeros[name] for name in terms.path})
