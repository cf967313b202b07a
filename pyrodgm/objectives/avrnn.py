"""Adversarial regularisation of latents over time: a critic in the place of the KL term."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import draw
from pyrodgm.engine.terms import Terms, terms
from pyrodgm.errors import CompatibilityError
from pyrodgm.evaluate.latents.activity import ACTIVE, activities
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.networks.critics import PathCritic
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.objectives.base import Loss, Needs, Phase
from pyrodgm.objectives.game import Game, explodes, stalls
from pyrodgm.objectives.kl import exact_kl
from pyrodgm.objectives.optimizer import OptimizerOptions, Positive
from pyrodgm.objectives.single import sequence_mean
from pyrodgm.objectives.slope import SlopeBound
from pyrodgm.objectives.targets import Targets

Size = Annotated[int, Field(ge=1)]
ESTIMATE = "path_distance_estimate"
RECONSTRUCTION = "reconstruction_nats_per_frame"
KL = "kl_nats_per_frame"
ACTIVE_UNITS = "active_units"


@final
class AVRNN(Game):
    r"""Adversarial regularisation of latents over time: reconstruction, and a game on their paths.

    .. math::
        \text{reconstruction: } & \max_{\theta, \phi, \tau} \; E_q \sum_t \log p(x_t \mid
            z_{\le t}, x_{<t}) \\
        \text{critic: } & \min_D \; E_p D(z) - E_q D(z) \\
        \text{adversary: } & \max_{\omega, \tau} \; E_p D(z) - E_q D(z)

    where :math:`\omega` are the parameters of the model's distribution of latents, :math:`\theta,
    \phi` all others of the model, and :math:`\tau` those of the guide. D maps a whole path
    :math:`z_{1:T}` to a number. Each phase has a batch of its own. With D of bounded slope, the
    difference is an estimate of a multiple of the Wasserstein distance between paths of the guide
    and paths of the prior.

    The paths are compared over all data together. The distance is zero if the mixture of
    q(z | x) over the data is that of the prior, which leaves the KL term of the evidence lower
    bound free, so that the reconstruction is no bound. A critic that sees pairs (x, z) compares
    q(z | x) with the prior at the same x. Its optimum, a distance of zero, is a posterior that
    equals the prior: latents that carry no information on their own frame. Validation therefore
    reports, beside the reconstruction, the evidence lower bound, the KL term in closed form, and
    the active units; and weights are chosen by the evidence lower bound, which is not trained.

    Args:
        model: the model p, with a `prior_modules`, such as `VRNN`.
        guide: the guide q; its draws carry gradients.
        sees: "latents" as in the reference, or "pairs" for frames and latents.
        prior: draws of the prior, "along" paths of the guide (each :math:`z_t` given the guide's
            latents before it, with one recurrence for both), or "own", given their own.
        bound: what bounds the slope of the critic: "clip" its weights, a "penalty" on its gradient,
            or "spectral", the largest singular value of each of its weight matrices.
        bound_by: size of the bound: 0.01 for the weights, 10 for the weight of the penalty, and 1
            for the singular values, if not given.
        critic_steps: turns of the critic per step.
        critic_dim: units of the critic's LSTM, and of the rectified layers above it.
        critic_lr: learning rate of critic and adversary; that of the reconstruction is fit.lr.

    Raises:
        CompatibilityError: the model does not say which modules hold its distribution of latents.

    Reference: Huang and Xiao, Regularized sequential latent variable models with adversarial neural
    networks, 2021, algorithms 1 and 2. It gives neither the bound on the weights nor learning
    rates, which are those of Arjovsky et al., 2017, here; its recurrence is printed without
    latents, and here it is the model's.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("reconstruction", "Wasserstein", "Huang and Xiao 2021, alg. 1-2"),
    )
    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"continuous"}), reparameterised=True, sequential=True, auxiliary=False
    )
    shown: ClassVar[tuple[str, ...]] = (RECONSTRUCTION, KL, ESTIMATE, ACTIVE_UNITS)
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"optimizer": "rmsprop", "lr": 1e-3}
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        sees: Literal["latents", "pairs"] = "latents",
        prior: Literal["along", "own"] = "along",
        bound: Literal["clip", "penalty", "spectral"] = "clip",
        bound_by: Positive | None = None,
        critic_steps: Size = 1,
        critic_dim: LayerSizes = (128, 100, 100),
        critic_lr: Positive = 5e-5,
    ) -> None:
        critic = PathCritic(model.info, model.latents, critic_dim, pairs=sees == "pairs")
        super().__init__(
            model,
            guide,
            critic,
            steps=critic_steps,
            optimizer=OptimizerOptions(optimizer="rmsprop", lr=critic_lr),
            bound=SlopeBound(bound, bound_by),
        )
        self.prior_modules = _prior_modules(model)
        self.prior = prior

    def phases(self) -> tuple[Phase, ...]:
        """Reconstruction, critic, adversary; each turn has a batch of its own."""
        return (
            Phase(
                "reconstruction",
                (self.model, self.guide),
                self.reconstruction_loss,
                without=self.prior_modules,
            ),
            self.critic_phase(),
            Phase(
                "adversary",
                (*self.prior_modules, self.guide),
                self.adversary_loss,
                optimizer=self.critic_options,
                fresh=True,
            ),
        )

    def reconstruction_loss(self, batch: Batch) -> Loss:
        """Minus the log-probability of the observations given draws of the guide, per sequence."""
        found = terms(self.model, self.guide, batch)
        seen = self._reconstruction(found)
        frames = found.mask.sum() * found.particles
        report = {RECONSTRUCTION: seen.detach().sum() / frames}
        return Loss(-sequence_mean(seen), found.report() | report, found.by_name())

    def critic_loss(self, batch: Batch) -> Loss:
        """The critic's mean at paths of the prior less that at paths of the guide."""
        with torch.no_grad():
            of_q, of_p = self.paths(batch)
        distance = self.distance(of_q, of_p, batch)
        report = {ESTIMATE: distance.detach().mean()}
        if not self.bound.penalises:
            return Loss(-distance.mean(), report)
        excess = self._excess(of_q, of_p, batch)
        report |= {"slope_excess": excess.detach()}
        return Loss(self.bound.size * excess - distance.mean(), report)

    def adversary_loss(self, batch: Batch) -> Loss:
        """The distance that the critic sees, for guide and prior to reduce."""
        of_q, of_p = self.paths(batch)
        return Loss(self.distance(of_q, of_p, batch).mean(), {})

    def distance(
        self, of_q: Mapping[str, Tensor], of_p: Mapping[str, Tensor], batch: Batch
    ) -> Tensor:
        """D at paths of the guide less D at paths of the prior, (K, B)."""
        return self.critic(batch, **of_q) - self.critic(batch, **of_p)

    def paths(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Latents of the guide and of the prior, (K, B, T, J) by site, zero where padded."""
        found = terms(self.model, self.guide, batch)
        if self.prior == "own":
            of_p = dict(draw(self.model, batch).values)
        else:
            of_p = {
                name: p.expand(found.q[name].shape).rsample() for name, p in found.prior_of.items()
            }
        padded = ~batch.mask[..., None]
        of_q, of_p = (
            {name: z.masked_fill(padded, 0.0) for name, z in values.items()}
            for values in (found.values, of_p)
        )
        return of_q, of_p

    def _reconstruction(self, found: Terms) -> Tensor:
        """The log-probability of the observations by frame, (K, B, T)."""
        return found.total({name: found.p[name] for name in self.model.observed})

    def _excess(
        self, of_q: Mapping[str, Tensor], of_p: Mapping[str, Tensor], batch: Batch
    ) -> Tensor:
        """The mean squared distance of the critic's slope from one, between paths."""
        names, sizes = list(of_q), [of_q[name].shape[-1] for name in of_q]
        q, p = (torch.cat([values[name] for name in names], -1) for values in (of_q, of_p))

        def critic(flat: Tensor) -> Tensor:
            parts = flat.unflatten(-1, q.shape[-2:]).split(sizes, -1)
            return self.critic(batch, **dict(zip(names, parts, strict=True)))

        with torch.backends.cudnn.flags(enabled=False):  # which has no second derivatives
            return self.bound.excess(critic, q.flatten(-2), p.flatten(-2)).mean()

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The evidence lower bound, and what the game is about, on held-out sequences.

        A critic that does not distinguish guide and prior although their KL term is not small, or
        whose numbers have no bound, is named in a `CriticWarning`, once.
        """
        own = self._summary(sequences, seed)
        used = activities(self.model, self.guide, sequences, draws=4, seed=seed)
        active = sum(int((variances > ACTIVE).sum()) for variances in used.values())
        self._watch(own, sequences)
        found = super().validate(sequences, seed=seed)
        del own["standard_error"]
        numbers = {**found.numbers, **own, ACTIVE_UNITS: active}
        return Validation(found.by, found.score, numbers, self.shown)

    def _summary(self, sequences: Sequences, seed: int) -> dict[str, float]:
        """Means over held-out sequences of one draw each."""
        reconstruction, kl, distances = 0.0, 0.0, []
        with drawing(self.model, seed, "avrnn") as device:
            for rows, _ in chunks(sequences.lengths, 1, width=self.model.frame_size):
                batch = sequences.batch(rows).to(device)
                found = terms(self.model, self.guide, batch)
                reconstruction += float(self._reconstruction(found).sum())
                kl += float(found.total(exact_kl(found)).sum())
                distances.append(self.distance(*self.paths(batch), batch).flatten())
        each = torch.cat(distances)
        frames = sequences.num_frames
        return {
            RECONSTRUCTION: reconstruction / frames,
            KL: kl / frames,
            ESTIMATE: float(each.mean()),
            "standard_error": float(each.std(correction=0) / len(each) ** 0.5),
        }

    def _watch(self, own: Mapping[str, float], sequences: Sequences) -> None:
        """Name a game that explodes, or that has stalled at several evaluations, once."""
        estimate, error = own[ESTIMATE], own["standard_error"]
        stalled = stalls(
            estimate,
            error,
            own[KL],
            sequences.num_frames,
            advice="" if self.critic.inputs is not None else ", or objective.sees=pairs",
        )
        self.watch.see([explodes(estimate), stalled])


def _prior_modules(model: Model) -> tuple[torch.nn.Module, ...]:
    """The modules that hold the distribution of latents.

    Raises:
        CompatibilityError: the model does not say which.
    """
    names = getattr(model, "prior_modules", None)
    if names is None:
        raise CompatibilityError(
            f"{type(model).__name__} does not say which of its modules hold the distribution of "
            "latents, which AVRNN trains in a phase of its own; set prior_modules to their names, "
            'such as prior_modules = ("prior",), or () if it has no parameters'
        )
    modules = dict(model.named_modules())
    if unknown := [name for name in names if name not in modules]:
        raise CompatibilityError(
            f"{type(model).__name__} names {', '.join(unknown)} in prior_modules, but its modules "
            f"are {', '.join(name for name, _ in model.named_children())}"
        )
    return tuple(modules[name] for name in names)
