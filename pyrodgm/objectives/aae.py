"""Adversarial and Wasserstein autoencoders: reconstructions, and an aggregate q(z) like p(z)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import draw, score, simulate
from pyrodgm.engine.sites import in_order, sizes
from pyrodgm.errors import CompatibilityError, DataError, UsageError
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.mlp import relu_network
from pyrodgm.objectives.ali import GeneratorLoss, against
from pyrodgm.objectives.base import Loss, Needs, Phase
from pyrodgm.objectives.critic_term import logistic
from pyrodgm.objectives.cycle import DISTANCES
from pyrodgm.objectives.game import (
    ACCURACY,
    Game,
    Symptom,
    accuracy,
    complete,
    explodes,
    frame_mean,
    per_sequence,
    refuse_missing,
    wins,
)
from pyrodgm.objectives.mmd import KernelName, squared_mmd
from pyrodgm.objectives.optimizer import Decay, OptimizerOptions, Positive
from pyrodgm.objectives.pairs import NEEDS, Size
from pyrodgm.objectives.pathwise import drawable, surrogate_of
from pyrodgm.objectives.reconstructed import ACTIVE_UNITS, RECONSTRUCTION, validated
from pyrodgm.objectives.targets import Targets

MMD = "squared_mmd_of_latents"
KL = "kl_of_aggregate_estimate_nats"
USUAL = ("logd", 1, (128, 128), 1e-3, (0.5, 0.999))  # options of the critic
UNCOMPARED = Symptom(
    "uncompared",
    "no batch had two rows, so that the latents were never compared with the prior; give a larger "
    "fit.batch_size",
    at_once=True,
)


@final
class AAE(Game):
    r"""An autoencoder whose latents, over all data together, have the distribution of the prior.

    .. math:: \min_{p, q} \; E_{q(x, z)}\, c(x, z) + \lambda\, D\big(q(z), p(z)\big), \qquad
        q(z) = \int q(x)\, q(z \mid x)\, dx

    where the cost c is :math:`-\log p(x \mid z)`, or the mean over features of the squared ("l2")
    or absolute ("l1") difference of x and a draw of p(x' | z). The divergence D is

    - ``by="critic"``: that of a game on z, as in the adversarial autoencoder,

      .. math:: \min_V \; E_{q(z)}\, \mathrm{softplus}(-V(z)) + E_{p(z)}\, \mathrm{softplus}(V(z)),
          \qquad V^* = \log \frac{q(z)}{p(z)}

      where the guide, and a prior with parameters, minimise the same with exchanged labels ("logd")
      or minus the same ("minimax");
    - ``by="mmd"``: the squared maximum mean discrepancy of the latents of a batch and as many draws
      of the prior, by its unbiased estimate, as in the Wasserstein autoencoder. There is no critic.
      It needs pairs: a batch of a single row leaves it out.

    It is no bound on the log-likelihood: the evidence lower bound has the KL term of every datum,
    :math:`E_x \mathrm{KL}(q(z \mid x) \Vert p(z))`, in the place of :math:`\lambda D`, and this is
    larger than :math:`\mathrm{KL}(q(z) \Vert p(z))` by the mutual information of x and z. Weights
    are chosen by the log-likelihood where the model has a density and at most two latents, and are
    otherwise the last ones; the squared error of reconstructions is reported.

    Args:
        model: the model p, of rows, with a density or without one.
        guide: the guide q; its draws carry gradients.
        by: "critic" or "mmd".
        weight: :math:`\lambda`; by default 1 nat of the critic's, or 100 by MMD, whose scale is far
            smaller.
        cost: "likelihood", "l2" or "l1"; by default the likelihood of a model with a density.
        kernel: of MMD, "imq" or "rbf".
        kernel_scale: C of the kernel, a squared distance; twice the number of latents, the mean
            squared distance of two draws of the prior, if not given.
        generator_loss: of the guide against the critic, "logd" or "minimax".
        critic_steps: turns of the critic per step.
        critic_dim: rectified units of every hidden layer of the critic; a number is a single layer.
        critic_lr: learning rate of the critic; that of model and guide is fit.lr.
        critic_betas: of the critic's Adam; those of model and guide are fit.betas.

    Raises:
        UsageError: options of a kernel without one, or of a critic without one.
        CompatibilityError: the likelihood of a model without a density.

    Reference: Makhzani et al., Adversarial autoencoders, 2015; Tolstikhin et al., Wasserstein
    auto-encoders, 2018, algorithms 1 and 2, and section 4 for the kernel.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("cost", "cost, JS of q(z)", "Makhzani et al. 2015"),
        Targets(
            "cost",
            "cost, MMD of q(z)",
            "Tolstikhin et al. 2018, alg. 2",
            "by=mmd",
        ),
    )
    needs: ClassVar[Needs] = NEEDS
    headline: ClassVar[str] = "cost_per_frame"
    shown: ClassVar[tuple[str, ...]] = (RECONSTRUCTION, ACTIVE_UNITS)
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"lr": 1e-3, "betas": (0.5, 0.999), "batch_size": 128, "evaluate_every": 500}
    )

    def __init__(  # noqa: PLR0913 - the signature is the schema of the options
        self,
        model: Model,
        guide: Guide,
        *,
        by: Literal["critic", "mmd"] = "critic",
        weight: Positive | None = None,
        cost: Literal["likelihood", "l2", "l1"] | None = None,
        kernel: KernelName | None = None,
        kernel_scale: Positive | None = None,
        generator_loss: GeneratorLoss = "logd",
        critic_steps: Size = 1,
        critic_dim: LayerSizes = (128, 128),
        critic_lr: Positive = 1e-3,
        critic_betas: tuple[Decay, Decay] = (0.5, 0.999),
    ) -> None:
        dim = sum(sizes(model.latents).values())
        super().__init__(
            drawable(model),
            guide,
            relu_network(dim, critic_dim, 1) if by == "critic" else nn.Sequential(),
            steps=critic_steps,
            optimizer=OptimizerOptions(lr=critic_lr, betas=critic_betas),
        )
        has_density = model.traits.density == "normalised"
        self.cost = cost or ("likelihood" if has_density else "l2")
        if self.cost == "likelihood" and not has_density:
            raise CompatibilityError(
                f"cost is 'likelihood', but {type(model).__name__} has no density; take "
                "objective.cost=l2 or l1"
            )
        if by == "critic" and (kernel is not None or kernel_scale is not None):
            raise UsageError(
                "kernel and kernel_scale are of by='mmd', but by is 'critic'; leave them out"
            )
        of_critic = (generator_loss, critic_steps, critic_dim, critic_lr, critic_betas)
        if by == "mmd" and of_critic != USUAL:
            raise UsageError(
                "generator_loss and critic_* are of by='critic', but by is 'mmd', which has no "
                "critic; leave them out"
            )
        self.by = by
        self.generator_loss: GeneratorLoss = generator_loss
        self.weight = weight or (1.0 if by == "critic" else 100.0)
        self.kernel: KernelName = kernel or "imq"
        self.kernel_scale = kernel_scale or 2.0 * dim
        self.surrogate = surrogate_of(model, None)
        self.most_rows = 0  # of a training batch

    def phases(self) -> tuple[Phase, ...]:
        """The critic's turns, if there is one, then those of model and guide together."""
        both = Phase("model and guide", (self.model, self.guide), self.pair_loss)
        return (both,) if self.by == "mmd" else (self.critic_phase(), both)

    def begin(self, training: Sequences) -> None:
        """Refuse rows with missing values, and a single one for MMD.

        Raises:
            DataError: values are missing, or there is one row.
        """
        refuse_missing(training)
        if self.by == "mmd" and training.num_frames < 2:
            raise DataError(
                "aae with by='mmd' compares latents of rows, but the data has only one; "
                "take objective.by=critic, or more rows"
            )

    def critic_loss(self, batch: Batch) -> Loss:
        """The logistic loss of separating latents of the guide and draws of the prior."""
        with torch.no_grad():
            latents = draw(self.guide, batch).values
            q, p = self.joined(latents), self.joined(self.prior(batch))
        of_q, of_p = self.critic(q)[..., 0], self.critic(p)[..., 0]
        loss = frame_mean(logistic(of_q, of_p), batch)
        found = {"critic_loss": loss, ACCURACY: frame_mean(accuracy(of_q, of_p), batch)}
        report = {name: each.detach() for name, each in found.items()}
        return Loss(per_sequence(loss, batch), report)

    def pair_loss(self, batch: Batch) -> Loss:
        """The cost of reconstructions and the weighted divergence of the latents."""
        latents = draw(self.guide, batch).values
        cost = frame_mean(self.reconstruction_cost(latents, batch), batch)
        divergence, report = self.divergence(self.joined(latents), batch)
        report = {self.headline: cost.detach(), **report}
        return Loss(per_sequence(cost + self.weight * divergence, batch), report)

    def reconstruction_cost(self, latents: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The cost c of data given latents, (1, B, T)."""
        if self.cost == "likelihood":
            (name,) = self.model.observed
            return -score(self.model, batch, latents)[name]
        given = {"given": latents, "pathwise": True, "surrogate": self.surrogate}
        (x,) = simulate(drawable(self.model), batch, **given).values.values()
        return DISTANCES[self.cost](x - batch.x).mean(-1)

    def divergence(self, q: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What the guide minimises of D, a scalar, from latents (1, B, T, J); and its report."""
        if self.by == "mmd":
            of_p = self.joined(self.prior(batch))
            of_q, of_p = (z[:, batch.mask].flatten(0, 1) for z in (q, of_p))
            if self.training:
                self.most_rows = max(self.most_rows, len(of_q))
            if len(of_q) < 2:  # the remainder of an epoch
                return of_q.new_zeros(()), {}
            found = squared_mmd(self.kernel, of_q, of_p, self.kernel_scale)
            return found, {MMD: found.detach()}
        of_q, of_p = self.critic(q)[..., 0], self.critic(self.joined(self.prior(batch)))[..., 0]
        adversary = against(self.generator_loss, of_q, of_p)
        return frame_mean(adversary, batch), {KL: frame_mean(of_q, batch).detach()}

    def prior(self, batch: Batch) -> Mapping[str, Tensor]:
        """Draws of the prior, (1, B, T, J) by site."""
        found = simulate(drawable(self.model), batch, pathwise=True).values
        return {name: found[name] for name in self.model.latents}

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """Cost, divergence and reconstructions on held-out rows; quadrature if possible.

        A failing game is named in a `CriticWarning`, once.
        """
        found: dict[str, float] = {}
        whole, frames = complete(sequences), 0
        with drawing(self.model, seed, "aae") as device:
            for rows, _ in chunks(whole.lengths, 1, width=self.model.frame_size):
                batch = whole.batch(rows).to(device)
                if self.by == "mmd" and batch.num_frames < 2:
                    continue
                for name, value in self._numbers(batch).items():
                    found[name] = found.get(name, 0.0) + float(value) * batch.num_frames
                frames += batch.num_frames
        found = {name: total / max(frames, 1) for name, total in found.items()}
        if self.by == "mmd":
            self.watch.see([UNCOMPARED if self.most_rows == 1 else None])
        else:
            between = "latents of the guide and of the prior"
            self.watch.see([explodes(found[KL]), wins(found[ACCURACY], between=between)])
        return validated(self.model, self.guide, sequences, found, shown=self.shown, seed=seed)

    def joined(self, latents: Mapping[str, Tensor]) -> Tensor:
        """The latents of all sites side by side, (K, B, T, J)."""
        return torch.cat(in_order(latents, self.model.latents), -1)

    def _numbers(self, batch: Batch) -> dict[str, Tensor]:
        """What is reported of a held-out batch."""
        numbers = dict(self.pair_loss(batch).report)
        return numbers | (self.critic_loss(batch).report if self.by == "critic" else {})
