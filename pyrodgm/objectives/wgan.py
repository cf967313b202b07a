"""Wasserstein generative adversarial networks, with a gradient penalty or clipped weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, cast, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import CompatibilityError, DataError, UsageError
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.evaluate.passes import chunks
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.models.implicit import Generator
from pyrodgm.networks.critics import Critic, clip_weights, slope
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.objectives.base import Loss, Needs, Objective, Phase
from pyrodgm.objectives.optimizer import Decay, OptimizerOptions, Positive
from pyrodgm.objectives.targets import Targets
from pyrodgm.seeds import forked

ESTIMATE = "wasserstein_estimate_in_sd"
PENALTY = 10.0  # as in the reference


@final
class WGAN(Objective):
    r"""The Wasserstein-1 distance between draws and data, estimated by a critic f.

    .. math::
        \text{critic: } & \min_f \; \mathbb E f(g(\epsilon)) - \mathbb E f(x)
            + \lambda\, \mathbb E \big(\lVert \nabla f(\hat x) \rVert - 1\big)^2, \qquad
            \hat x = u\, x + (1 - u)\, g(\epsilon), \; u \sim \mathcal U(0, 1) \\
        \text{generator: } & \min_g \; -\mathbb E f(g(\epsilon))

    Frames are compared individually, with standardised features: distances are in standard
    deviations of the data. The critic has several turns per step, each on new rows. With ``clip``,
    the weights of the critic are clipped to :math:`\pm c` instead of the penalty.

    The reported :math:`\mathbb E f(x) - \mathbb E f(g(\epsilon))` is an estimate and not a bound:
    the penalty does not keep every gradient norm below one, and the critic is not optimal. Values
    of different critics cannot be compared, so there is no validation score, and the last weights
    are kept.

    Args:
        model: the generator.
        guide: the guide "none".
        penalty: weight of the gradient penalty, :math:`\lambda`; 10 if neither it nor clip is
            given.
        clip: bound on the weights of the critic, c, such as 0.01.
        critic_steps: turns of the critic per step.
        critic_dim: rectified units of every hidden layer of the critic; a number is a single layer.
        critic_lr: learning rate of the critic; that of the generator is fit.lr. The reference has
            0.0001 for both, with larger networks; the networks here need ten times as much.
        critic_betas: of the critic's Adam; those of the generator are fit.betas.

    Raises:
        UsageError: both a penalty and a bound on the weights.
        CompatibilityError: the model is not a generator.

    Reference: Gulrajani et al., Improved training of Wasserstein GANs, 2017, algorithm 1; with
    clip, Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017, algorithm 1 but for its optimiser.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("Wasserstein", "Wasserstein", "eq. 37"),)
    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"none"}),
        has_density=None,
        sequential=False,
        density=frozenset({"none"}),
    )
    headline: ClassVar[str] = ESTIMATE
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"lr": 1e-3, "betas": (0.0, 0.9), "batch_size": 64}
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        penalty: Positive | None = None,
        clip: Positive | None = None,
        critic_steps: Annotated[int, Field(ge=1)] = 5,
        critic_dim: LayerSizes = (128, 128),
        critic_lr: Positive = 1e-3,
        critic_betas: tuple[Decay, Decay] = (0.0, 0.9),
    ) -> None:
        super().__init__(model, guide)
        if not isinstance(model, Generator):
            raise CompatibilityError(
                f"WGAN needs draws that carry gradients, but {type(model).__name__} is not a "
                "generator; derive it from pyrodgm.models.Generator"
            )
        if penalty is not None and clip is not None:
            raise UsageError(
                f"WGAN is given penalty={penalty:g} and clip={clip:g}; give one of the two"
            )
        self.penalty = PENALTY if penalty is None and clip is None else penalty
        self.clip = clip
        self.critic_steps = critic_steps
        self.critic = Critic(model.info, critic_dim)
        self.critic_options = OptimizerOptions(lr=critic_lr, betas=critic_betas)

    @property
    def generator(self) -> Generator:
        """The model, whose draws carry gradients."""
        return cast("Generator", self.model)

    def phases(self) -> tuple[Phase, ...]:
        """The critic's turns, then the generator's."""
        clipped = None if self.clip is None else partial(clip_weights, self.critic, self.clip)
        critic = Phase(
            "critic",
            (self.critic,),
            self.critic_loss,
            optimizer=self.critic_options,
            repeats=self.critic_steps,
            fresh=True,
            after=clipped,
        )
        return critic, Phase("generator", (self.model,), self.generator_loss)

    def begin(self, training: Sequences) -> None:
        """Refuse rows with missing values.

        Raises:
            DataError: values are missing.
        """
        if training.has_missing:
            raise DataError(
                "wgan compares whole frames, but the training data has missing values; fill them "
                "in, or leave these frames out"
            )

    def critic_loss(self, batch: Batch) -> Loss:
        """Minus the estimated distance, plus the gradient penalty between draws and data."""
        with torch.no_grad():
            fake = self.generator.draw(batch)[0]
        real, fake = self.critic.inputs(batch.x), self.critic.inputs(fake)
        distance = frame_mean(self.critic.of_inputs(real) - self.critic.of_inputs(fake), batch)
        report = {ESTIMATE: distance.detach()}
        if self.penalty is None:
            return Loss(-distance, report)
        share = torch.rand_like(real[..., :1])
        slopes = slope(self.critic.of_inputs, share * real + (1 - share) * fake)
        excess = frame_mean((slopes - 1).square(), batch)
        return Loss(self.penalty * excess - distance, report | {"slope_excess": excess.detach()})

    def generator_loss(self, batch: Batch) -> Loss:
        """Minus the critic's mean at draws; the value alone has no meaning."""
        return Loss(-frame_mean(self.critic(self.generator.draw(batch)[0]), batch), {})

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The critic's estimate on held-out rows, without a score."""
        device, total = next(self.critic.parameters()).device, 0.0
        with torch.no_grad(), forked(seed, "wgan"):
            for rows, _ in chunks(sequences.lengths, 1, width=self.generator.frame_size):
                batch = sequences.batch(rows).to(device)
                differences = self.critic(batch.x) - self.critic(self.generator.draw(batch)[0])
                total += float((differences * batch.mask).sum())
        return Validation(numbers={ESTIMATE: total / sequences.num_frames})


def frame_mean(values: Tensor, batch: Batch) -> Tensor:
    """The mean over the frames of a batch of values (B, T), without padding."""
    return (values * batch.mask).sum() / batch.mask.sum()
