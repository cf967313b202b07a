"""ALICE: adversarially learned inference with cycle terms."""

from __future__ import annotations

from typing import ClassVar, Unpack, final

from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.ali import GeneratorLoss, InferenceGame
from pyrodgm.objectives.cycle import Cycle, CycleKind, Weight
from pyrodgm.objectives.pairs import Pair, PairOptions
from pyrodgm.objectives.targets import Targets


@final
class ALICE(InferenceGame):
    r"""Adversarially learned inference whose reconstructions are tied to the data by cycle terms.

    .. math:: \min_{p, q} \max_V \; \mathrm{ALI}(p, q, V) + \lambda\, C_x + \lambda_z\, C_z

    with the game of `ALI` and the terms of `pyrodgm.objectives.cycle.Cycle`:

    .. math:: C_x = E_{q(x, z)}\, E_{p(x' \mid z)}\, d(x, x'), \qquad
        C_z = E_{p(x, z)}\, E_{q(z' \mid x)}\, d(z, z')

    :math:`-E_q \log p(x \mid z)` is a bound on the conditional entropy of x given z under q, which
    ALI leaves free. Of deterministic maps, "l2" and "l1" are that of normal and Laplace noise, up
    to constants.

    Arguments and what is reported are those of `pyrodgm.objectives.pairs.PairGame`; the estimate is
    no bound.

    Args:
        model: the model p, of rows, with a density or without one.
        guide: the guide q; its draws carry gradients.
        cycle: "l2", "l1", or "likelihood", which needs densities.
        cycle_weight: :math:`\lambda`.
        latent_cycle_weight: :math:`\lambda_z`; :math:`\lambda` if not given, as in published code.
        generator_loss: "logd" or "minimax".

    Raises:
        CompatibilityError: the likelihood of a model or guide without a density.

    Reference: Li et al., ALICE: towards understanding adversarial learning for joint distribution
    matching, 2017, equations 7 and 8; its conditional critic is not offered.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("JS and cycle", "JS and cycle", "Li et al. 2017, eq. 8"),
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        cycle: CycleKind = "l2",
        cycle_weight: Weight = 1.0,
        latent_cycle_weight: Weight | None = None,
        generator_loss: GeneratorLoss = "logd",
        **game: Unpack[PairOptions],
    ) -> None:
        super().__init__(model, guide, generator_loss=generator_loss, **game)
        self.cycle = Cycle(cycle, cycle_weight, latent_cycle_weight)
        self.cycle.refuse(model, guide)

    def regularised(self, q: Pair, p: Pair, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted cycle terms."""
        return self.cycle.loss(self, q, p, batch)
