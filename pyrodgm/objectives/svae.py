"""The symmetric variational autoencoder: the symmetric KL divergence of pairs, by a critic."""

from __future__ import annotations

from typing import ClassVar, Literal, Unpack, final

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.draws import score
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.cycle import Cycle, CycleKind, Weight, observed, without_density
from pyrodgm.objectives.game import frame_mean
from pyrodgm.objectives.pairs import Pair, PairGame, PairOptions
from pyrodgm.objectives.targets import Targets

Gradient = Literal["adversarial", "exact"]
ESTIMATE = "symmetric_kl_estimate_nats"


@final
class SymmetricVAE(PairGame):
    r"""The symmetric KL divergence of the two joint distributions of (x, z), by a critic V.

    .. math::
        \text{critic: } & \max_V \; E_{q(x, z)} \log \sigma(V(x, z))
            + E_{p(x, z)} \log (1 - \sigma(V(x, z))), \qquad
            V^* = \log \frac{q(x, z)}{p(x, z)} \\
        \text{model and guide: } & \min_{p, q} \; E_{q(x, z)} V(x, z) - E_{p(x, z)} V(x, z)
            + \lambda \big[C_x + C_z\big]

    At the critic's optimum the difference is the symmetric KL divergence, :math:`\mathrm{KL}(q
    \Vert p) + \mathrm{KL}(p \Vert q)`. Its gradient at a fixed critic is not: V itself depends on
    p and q, and it leaves out

    .. math:: -E_{q(x, z)} \nabla \log p(x, z) - E_{p(x, z)} \nabla \log q(z \mid x)

    so that the guide follows :math:`\mathrm{KL}(q \Vert p)` alone and the model
    :math:`\mathrm{KL}(p \Vert q)` alone. This is the game of the reference
    (``gradient="adversarial"``), which needs draws only. ``gradient="exact"`` adds these terms at
    fixed draws, for a model and a guide with densities; sVAE-r with :math:`\lambda = 1` has them
    too, and others beside them, which flow through the draws.

    The reference writes f for -V. Its equation 10 is misprinted: the first expectation is over
    :math:`q(x, z)`, as here; equations 3 and 4 have p(z, z) for p(x, z), and 27 has p for
    q(z | x). With :math:`\lambda > 0` (sVAE-r) its equation 29 has the likelihoods

    .. math:: C_x = -E_{q(x, z)} \log p(x \mid z), \qquad C_z = -E_{p(x, z)} \log q(z \mid x)

    while its published code has the mean absolute error of reconstructions ("l1"), which needs no
    density; see `pyrodgm.objectives.cycle.Cycle`.

    Arguments and what is reported are those of `pyrodgm.objectives.pairs.PairGame`; the estimate is
    no bound.

    Args:
        model: the model p, of rows, with a density or without one.
        guide: the guide q; its draws carry gradients.
        cycle: "likelihood", "l1" or "l2".
        cycle_weight: :math:`\lambda`, also of z if nothing else is given; 0 is sVAE.
        latent_cycle_weight: of z alone.
        gradient: "adversarial", or "exact" for that of the symmetric KL divergence.

    Raises:
        UsageError: a kind of cycle terms whose weight is 0.
        CompatibilityError: the likelihood or the exact gradient of a model or guide without a
            density, or the exact gradient where observations are not real numbers.

    Reference: Chen et al., Symmetric variational autoencoder and connections to adversarial
    learning, 2018, equations 10, 14 and 29.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("symmetric KL", "symmetric KL", "Chen et al. 2018, eq. 10, 14"),
    )
    headline: ClassVar[str] = ESTIMATE

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        cycle: CycleKind = "likelihood",
        cycle_weight: Weight = 0.0,
        latent_cycle_weight: Weight | None = None,
        gradient: Gradient = "adversarial",
        **game: Unpack[PairOptions],
    ) -> None:
        super().__init__(model, guide, **game)
        self.cycle = Cycle(cycle, cycle_weight, latent_cycle_weight)
        self.cycle.refuse(model, guide)
        if cycle != "likelihood" and not any(self.cycle.weights):
            raise UsageError(
                f"cycle is '{cycle}', but the weight of the cycle terms is 0; give "
                "objective.cycle_weight, such as 1"
            )
        self.gradient = gradient
        if gradient == "exact" and (unknown := without_density(model, guide)):
            raise CompatibilityError(
                f"gradient is 'exact', but {type(unknown[0]).__name__} has no density; take "
                "objective.gradient=adversarial"
            )
        if gradient == "exact" and model.info.kind != "real":
            raise CompatibilityError(
                f"gradient is 'exact', but the data '{model.info.name}' has {model.info.kind} "
                "values, whose draws carry approximate gradients; take "
                "objective.gradient=adversarial"
            )

    def adversary(self, of_q: Tensor, of_p: Tensor) -> Tensor:
        """The difference of the log ratio at pairs of q and of p."""
        return of_q - of_p

    def estimate(self, of_q: Tensor, of_p: Tensor) -> Tensor:
        """The same."""
        return of_q - of_p

    def regularised(self, q: Pair, p: Pair, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted cycle terms, and what the exact gradient needs."""
        loss, report = self.cycle.loss(self, q, p, batch)
        if self.gradient == "exact":
            loss = loss - frame_mean(self._at_fixed_draws(q, p, batch), batch)
        return loss, report

    def _at_fixed_draws(self, q: Pair, p: Pair, batch: Batch) -> Tensor:
        """The log-probabilities log p(x_q, z_q) + log q(z_p | x_p), (1, B, T)."""
        (of_q, of_p) = (
            Pair(pair.x.detach(), {name: z.detach() for name, z in pair.latents.items()})
            for pair in (q, p)
        )
        log_p = score(self.model, batch, of_q.latents)
        log_q = score(self.guide, observed(of_p, batch), of_p.latents)
        return torch.stack([*log_p.values(), *log_q.values()]).sum(0)
