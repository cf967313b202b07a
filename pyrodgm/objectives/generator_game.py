"""Games of a generator and a critic that compares its draws with data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, TypedDict, cast

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.kernels.base import metropolis
from pyrodgm.errors import ChainWarning, CompatibilityError
from pyrodgm.evaluate.likelihood.field import LEAST_ACCEPTED
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.evaluate.prediction.samples import Sampler
from pyrodgm.evaluate.resemblance import resemblance
from pyrodgm.evaluate.samples.quality import MODEL, REVISED
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.models.implicit import Generator
from pyrodgm.networks.frame_critic import Critic, CriticNetwork, Labels
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.objectives.base import Loss, Needs, Phase
from pyrodgm.objectives.divergences import Divergence
from pyrodgm.objectives.game import (
    ACCURACY,
    Game,
    accuracy,
    collapses,
    complete,
    explodes,
    frame_mean,
    per_sequence,
    refuse_missing,
    wins,
)
from pyrodgm.objectives.generator_draws import BitGradient, drawing_of, refuse_unless_relaxed
from pyrodgm.objectives.optimizer import Decay, OptimizerOptions, Positive
from pyrodgm.objectives.schedule import Positive as Temperature
from pyrodgm.objectives.schedule import scheduled

EXCESS = "slope_excess"
PROPOSALS = 50  # of a revised draw


class GameOptions(TypedDict, total=False):
    """The options that constructors of games pass on to `GeneratorGame`."""

    critic: CriticNetwork
    critic_dim: LayerSizes
    critic_lr: Positive
    critic_betas: tuple[Decay, Decay]
    labels: Labels
    bits: BitGradient | None
    temperature: Temperature


class GeneratorGame(Game):
    r"""A generator g against a critic V of its draws, over a divergence in variational form.

    .. math::
        \text{critic: } & \max_V \; F(V, g) = E\, a(V(x)) - E\, b(V(g(\epsilon))) \\
        \text{generator: } & \min_g \; -E\, b(V(g(\epsilon))), \quad
            \text{or directly } -E\, a(V(g(\epsilon)))

    with a and b of a `Divergence`. Frames are compared individually, under their conditions, such
    as labels, where there are any. A game sets its divergence, `direct`, the bound on the critic's
    slope and the turns of the critic.

    Draws of bits carry gradients in one of three ways:

    - "straight-through": bits, with the gradient of their relaxation at a temperature; biased.
    - "relaxed": the critic sees the relaxation itself, between zero and one, of draws alone.
    - "score": bits and :math:`(r_i - \bar r_{\ne i}) \nabla \log p(x_i \mid \epsilon_i)`, where the
      reward r is what the generator follows at :math:`x_i`, less its mean over the other draws of
      the batch; without bias, and with more variance.

    Args:
        model: the generator.
        guide: the guide "none".
        critic: "dense"; for pictures "conv", "attention" (self-attention above the first
            convolution), or the channels of convolutions. See `pyrodgm.networks.frame_critic`.
        critic_dim: rectified units of every hidden layer of the critic; a number is a single layer.
        critic_lr: learning rate of the critic; that of the generator is fit.lr.
        critic_betas: of the critic's Adam; those of the generator are fit.betas.
        labels: how the critic uses conditions: "concat" or "projection"; "auxiliary" adds to both
            losses that of telling the class of data and of draws.
        bits: how draws of bits carry gradients; "straight-through" if not given.
        temperature: of relaxed bits, a number or a schedule of the turns of critic and generator.

    A constructor passes all but the first two on as ``**options: Unpack[GameOptions]``.

    Raises:
        CompatibilityError: the model is not a generator.
        UsageError: a gradient of bits, and draws are not bits; a temperature, and no bits are
            relaxed; labels that the data does not have.

    Reference: Odena et al., Conditional image synthesis with auxiliary classifier GANs, 2017; Yu et
    al., SeqGAN, 2017 (score); Kusner and Hernandez-Lobato, 2016 (relaxed).
    """

    critic: Critic
    divergence: Divergence
    direct: bool = False  # whether the generator follows a in the place of b
    classifies: ClassVar[bool] = True  # whether the sign of V classifies data and draws
    shown: ClassVar[tuple[str, ...]] = (ACCURACY, "draws_coverage")
    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"none"}),
        has_density=None,
        sequential=False,
        density=frozenset({"none"}),
    )
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"lr": 1e-3, "betas": (0.0, 0.9), "batch_size": 64}
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        critic: CriticNetwork = "dense",
        critic_dim: LayerSizes = (128, 128),
        critic_lr: Positive = 1e-3,
        critic_betas: tuple[Decay, Decay] = (0.0, 0.9),
        labels: Labels = "concat",
        bits: BitGradient | None = None,
        temperature: Temperature = 1.0,
    ) -> None:
        if not isinstance(model, Generator):
            raise CompatibilityError(
                f"{type(self).__name__} needs draws that carry gradients, but "
                f"{type(model).__name__} is not a generator; derive it from "
                "pyrodgm.models.Generator"
            )
        network = Critic(model.info, critic_dim, network=critic, labels=labels)
        adam = OptimizerOptions(lr=critic_lr, betas=critic_betas)
        super().__init__(model, guide, network, optimizer=adam)
        refuse_unless_relaxed(model, bits, temperature)
        self.temperature = scheduled(temperature)
        self.draws = drawing_of(model, bits, self.temperature)

    @property
    def generator(self) -> Generator:
        """The model, whose draws carry gradients."""
        return cast("Generator", self.model)

    def phases(self) -> tuple[Phase, ...]:
        """The critic's turns, then the generator's."""
        return self.critic_phase(), Phase("generator", (self.model,), self.generator_loss)

    def begin(self, training: Sequences) -> None:
        """Refuse rows with missing values.

        Raises:
            DataError: values are missing.
        """
        refuse_missing(training)

    def critic_loss(self, batch: Batch) -> Loss:
        """Minus the variational value, and the gradient penalty between draws and data."""
        with torch.no_grad():
            draws = self.draws(batch)
        given = self.critic.conditions(batch)
        data, draws = self.critic.inputs(batch.x), self.critic.inputs(draws)
        of_data, of_draws = (self.critic.of_inputs(x, given) for x in (data, draws))
        report = {
            name: frame_mean(each, batch) for name, each in self.numbers(of_data, of_draws).items()
        }
        loss = -frame_mean(self.divergence.value(of_data, of_draws), batch)
        if self.bound.penalises:
            critic = partial(self.critic.of_inputs, given=given)
            excess = frame_mean(self.bound.excess(critic, data, draws), batch)
            loss, report[EXCESS] = self.bound.size * excess + loss, excess
        if self.critic.labels == "auxiliary":
            labelled = (self.critic.log_class(x, batch) for x in (data, draws))
            loss = loss - sum(frame_mean(nats, batch) for nats in labelled)
        report = {name: each.detach() for name, each in report.items()}
        return Loss(per_sequence(loss, batch), report)

    def numbers(self, of_data: Tensor, of_draws: Tensor) -> dict[str, Tensor]:
        """What is reported of the critic at data and at as many draws, (...) each."""
        value = {self.headline: self.divergence.value(of_data, of_draws)}
        return value | ({ACCURACY: accuracy(of_data, of_draws)} if self.classifies else {})

    def generator_loss(self, batch: Batch) -> Loss:
        """What the generator minimises; its value alone has no meaning."""
        follow = self.divergence.first if self.direct else self.divergence.second

        def reward(draws: Tensor) -> Tensor:
            inputs = self.critic.inputs(draws)
            value = follow(self.critic.of_inputs(inputs, self.critic.conditions(batch)))
            if self.critic.labels == "auxiliary":
                value = value + self.critic.log_class(inputs, batch)
            return value

        followed = frame_mean(self.draws.followed(reward, batch), batch)
        return Loss(-per_sequence(followed, batch), {})

    def samplers(self) -> Mapping[str, Sampler]:
        """Draws revised by the critic, where it estimates a log ratio, and those of the model."""
        if not self.classifies:
            return {}
        return {REVISED: self.revised, MODEL: lambda batch: self.generator.draw(batch)[0]}

    def revised(self, batch: Batch) -> Tensor:
        r"""Draws of the generator closer to the data, by Metropolis independence sampling.

        .. math:: x' \sim g(\epsilon), \qquad
            a = \min\Big(1, \frac{e^{V(x')}}{e^{V(x)}}\Big), \qquad
            V \approx \log \frac{p_{\text{data}}}{p_{\text{draws}}}

        The draws are those of :math:`p_{\text{draws}} e^V`, up to a constant, once enough of the
        proposals were accepted; a critic with a bound on its slope gives too small a ratio. If few
        are accepted, there is a `ChainWarning`.

        Args:
            batch: B sequences, in whose shape they are, (B, T, D); frames are revised
                individually.

        Reference: Turner et al., Metropolis-Hastings generative adversarial networks, 2019. Chains
        start at draws here, not at data, and the critic is not calibrated.
        """
        state = self._with_ratio(batch)
        accepted = state.new_zeros(())
        for _ in range(PROPOSALS):
            proposed = self._with_ratio(batch)
            state, probability = metropolis(state, proposed, proposed[..., -1] - state[..., -1])
            accepted += frame_mean(probability, batch) / PROPOSALS
        if accepted < LEAST_ACCEPTED:
            warnings.warn(
                f"{float(accepted):.2%} of the generator's draws are accepted by the critic, so "
                "that few of them decide what is drawn: the generator is far from the data",
                ChainWarning,
                stacklevel=2,
            )
        return state[..., :-1]

    def _with_ratio(self, batch: Batch) -> Tensor:
        """Draws and the critic V at them, (B, T, D + 1)."""
        with torch.no_grad():
            x = self.generator.draw(batch)[0]
            return torch.cat([x, self.critic(x, batch)[..., None]], -1)

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The critic's estimate on held-out rows, and how draws resemble them, without a score.

        A failing game is named in a `CriticWarning`, once.
        """
        sequences = complete(sequences)
        found = self._held_out(sequences, seed)
        alike = resemblance(self.generator, sequences, self.critic.inputs, seed=seed)
        self.watch.see([
            explodes(found[self.headline]),
            wins(found[ACCURACY]) if self.classifies else None,
            None if alike is None else collapses(*alike, advice=self.advice()),
        ])  # fmt: skip
        numbers = found | ({} if alike is None else alike._asdict())
        return Validation(numbers=numbers, shown=self.shown)

    def advice(self) -> list[str]:
        """Other games that may help where draws collapse in this one."""
        bounded = self.bound.kind != "none" or not self.classifies
        bound = [] if bounded else ["an objective.bound"]
        return [*bound, "objective wgan"] if self.classifies else bound

    def _held_out(self, sequences: Sequences, seed: int) -> dict[str, float]:
        """What the critic says of held-out rows and of as many draws."""
        total: dict[str, float] = {}
        with drawing(self.model, seed, type(self).__name__.lower()) as device:
            for rows, _ in chunks(sequences.lengths, 1, width=self.generator.frame_size):
                batch = sequences.batch(rows).to(device)
                draws = self.draws(batch)  # as in training: relaxed bits are another game than bits
                found = self.numbers(self.critic(batch.x, batch), self.critic(draws, batch))
                for name, each in found.items():
                    total[name] = total.get(name, 0.0) + float((each * batch.mask).sum())
        return {name: number / sequences.num_frames for name, number in total.items()}
