"""Maximum likelihood, for models with an exact likelihood."""

from __future__ import annotations

from typing import ClassVar, final

from pyrodgm.engine.terms import Terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.single import SinglePhase, sequence_mean
from pyrodgm.objectives.targets import Targets


@final
class ML(SinglePhase):
    r"""Maximum likelihood.

    .. math:: L = \sum_t \log p(x_t \mid x_{<t})

    Args:
        model: a model without latent variables, or with its latent variables summed out.
        guide: the guide "none".

    Reference: Ou, A review of learning with deep generative models, section 2.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("ML", "none", "eq. 6"),)
    needs: ClassVar[Needs] = Needs(latents=frozenset({"none"}))
    headline: ClassVar[str] = "nats_per_frame"

    def __init__(self, model: Model, guide: Guide) -> None:
        super().__init__(model, guide, particles=1, execution="fused")

    def estimate(self, terms: Terms) -> Loss:
        """Minus the log-likelihood per sequence."""
        report = {"nats_per_frame": terms.log_p.detach().sum() / terms.mask.sum()}
        return Loss(-sequence_mean(terms.log_p), report, terms.by_name())
