"""Reweighted wake-sleep: model and guide follow self-normalised importance weights."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, final, get_args

from pydantic import Field

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.local import frame_terms
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.engine.terms import Terms, terms
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.evaluate.likelihood.validation import Validation, validate
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.single import SinglePhase, sequence_mean
from pyrodgm.objectives.sleep import Share, with_sleep
from pyrodgm.objectives.targets import Targets

Weights = Literal["frames", "paths"]


@final
class RWS(SinglePhase):
    r"""Reweighted wake-sleep with the wake phase of the guide, by frame or by sequence.

    With :math:`l^k = \log p(x, z^k) - \log q(z^k \mid x)` of K draws from the guide and weights
    :math:`\tilde w^k = e^{l^k} / \sum_j e^{l^j}`,

    .. math::
        \nabla_\theta = \sum_k \tilde w^k \nabla_\theta \log p(x, z^k), \qquad
        \nabla_\phi = \sum_k \tilde w^k \nabla_\phi \log q(z^k \mid x)

    Weights of "paths" are those of whole sequences. The gradient of the model is an unbiased
    gradient of the K-sample bound :math:`E \log \frac1K \sum_k e^{l^k}`. The gradient of the guide
    converges to that of :math:`-\mathrm{KL}(p(z \mid x), q(z \mid x))` as K grows, with a bias of
    order 1/K.

    Weights of "frames" compare K draws of every frame, all given the past on one path
    :math:`\tilde z \sim q`, so that the effective number of draws does not decrease with length.
    The gradient of the model is an unbiased gradient of

    .. math::
        E_{\tilde z} \sum_t E \log \frac1K \sum_k
        \frac{p(x_t, z^k_t \mid \tilde z_{<t}, x_{<t})}{q(z^k_t \mid \tilde z_{<t}, x)}

    which is the evidence lower bound for K = 1, and **not a lower bound on log p(x)** for larger K,
    because the past is drawn from the guide and not from the posterior. The gradient of the guide
    converges to that of each frame's :math:`-\mathrm{KL}(p(z_t \mid \tilde z_{<t}, x_{\le t}),
    q(z_t \mid \tilde z_{<t}, x))`: it ignores the effect of a draw on later frames, as the local
    signal of `NVIL` does.

    The gradient of the guide above is that of the wake phase. The sleep phase, of draws
    :math:`(x', z') \sim p` of the model as in `WakeSleep`, can be mixed with it, or replace it:

    .. math::
        \nabla_\phi = (1 - s) \sum_k \tilde w^k \nabla_\phi \log q(z^k \mid x)
            + s \, \frac1K \sum_k \nabla_\phi \log q(z'^k \mid x'^k)

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K, at least 2.
        weights: "frames" or "paths"; the same for rows without time.
        sleep: share s of the sleep phase in the gradient of the guide, from 0 to 1.

    Raises:
        CompatibilityError: weights of frames, or a sleep phase, for a model or guide without
            frames.

    Reference: Bornschein and Bengio, Reweighted wake-sleep, 2015, equations 9 and 11; Ou, A review
    of learning with deep generative models, equations 21 and 23 to 25. Weights of frames are ours.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("IW-LB", "KL by IS", "eq. 23-25", "weights=paths"),
        Targets("IW-LB", "sleep", "eq. 21, 23-24", "weights=paths, sleep=1"),
        Targets("IW-LB by frame", "KL by frame", "eq. 23-25, by frame", "weights=frames"),
    )
    needs: ClassVar[Needs] = Needs()

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=2)] = 16,
        weights: Weights = "frames",
        sleep: Share = 0.0,
    ) -> None:
        super().__init__(model, guide, particles=particles, execution="fused")
        if weights not in get_args(Weights):
            raise UsageError(f"weights is {weights!r}; give 'frames' or 'paths'")
        self.validation_draws = particles
        self.weights: Weights = weights
        self.by_frame = weights == "frames"
        self.sleep = sleep

    def trace(self, batch: Batch) -> Terms:
        """K draws of every path, or of every frame given one path; without path gradients."""
        model, guide = self.model, self.guide
        if self.weights == "paths":
            return terms(model, guide, batch, self.particles, pathwise=False)
        if not (isinstance(model, SequenceProgram) and isinstance(guide, SequenceProgram)):
            raise CompatibilityError(
                f"{type(model).__name__} with {type(guide).__name__} does not run frame by frame, "
                "but weights='frames' compares draws of a frame; use weights='paths'"
            )
        if model.traits.sequential or guide.traits.sequential:
            return frame_terms(model, guide, batch, self.particles)
        return terms(model, guide, batch, self.particles, pathwise=False)  # rows have no past

    def estimate(self, terms: Terms) -> Loss:
        """The wake phases: minus the weighted log-probabilities, per sequence."""
        cost, wake = terms.log_w.detach(), 1 - self.sleep
        share = (cost if self.weights == "frames" else cost.sum(-1, keepdim=True)).softmax(0)
        surrogate = self.particles * sequence_mean(share * (terms.log_p + wake * terms.log_q))
        return Loss(-surrogate, terms.report(), terms.by_name())

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """With weights of frames, the bound of a particle filter; else of K draws of a sequence."""
        pair = self.model, self.guide
        if self.weights == "paths" or not all(each.traits.sequential for each in pair):
            return super().validate(sequences, seed=seed)
        return validate(*pair, sequences, particles=self.particles, estimator="fivo", seed=seed)

    def loss(self, batch: Batch) -> Loss:
        """The loss of the wake phases, and of the sleep phase if there is one."""
        wake = super().loss(batch)
        return with_sleep(wake, self, batch, share=self.sleep, particles=self.particles)
