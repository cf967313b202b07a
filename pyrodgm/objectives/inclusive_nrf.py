"""Random fields with an inclusive auxiliary generator, which learns from revised draws."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, final

from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.kernels import SGHMC, SGLD
from pyrodgm.errors import ChainWarning, CompatibilityError, UsageError
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.evaluate.prediction.samples import Sampler
from pyrodgm.evaluate.samples.quality import GUIDE, REVISED
from pyrodgm.guides.base import Guide
from pyrodgm.guides.with_latents import GeneratorGuide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss
from pyrodgm.objectives.field import FieldWithGuide, alone, frame_mean
from pyrodgm.objectives.optimizer import Positive
from pyrodgm.objectives.revision import Independent, Langevin, Revised, Sweeps
from pyrodgm.objectives.state import Chains, RunningFromFirst
from pyrodgm.objectives.targets import Targets

CHAINS = 100  # default number of chains
LEAST_ACCEPTED = 0.01  # mean acceptance below which there is a warning
STEP, FRICTION = 0.001, 0.1
Revision = Literal["sgld", "sghmc", "gibbs", "mis"]
USED: dict[Revision, tuple[str, ...]] = {
    "sgld": ("step_size", "noise", "latents"),
    "sghmc": ("step_size", "noise", "latents", "friction"),
    "gibbs": (),
    "mis": ("particles",),
}  # options of every revision


@final
class InclusiveNRF(FieldWithGuide):
    r"""A random field and a generator that minimises the inclusive divergence to it.

    .. math::
        \theta: \; & \nabla_\theta \phi_\theta(\tilde x) - \nabla_\theta \phi_\theta(x) \\
        \phi: \; & \nabla_\phi \log q_\phi(x) \quad \text{or} \quad \nabla_\phi \log q_\phi(x, h)

    for data :math:`\tilde x`, and x from the field p by revised draws of the guide q. With exact
    draws these are the gradients of the log-likelihood of the field and of
    :math:`-\mathrm{KL}(p \,\|\, q)`. A guide with a density has the first form for
    :math:`\phi`, and `generator` the second, with its noise h; `vae` follows its bound on
    :math:`\log q(x)`, which trains its recognition network too.

    Real numbers are revised by Langevin dynamics from fresh draws. It is not exact at a finite step
    and stays in the mode where it began, so that the masses of modes that are far apart follow
    those of the generator. Sweeps (gibbs) are the model's own conditional draws, from fresh draws
    too. By Metropolis independence sampling (mis), which is for guides with a density and for
    `vae`, chains of rows continue over steps and are exact in equilibrium; under conditions and for
    models of sequences, they start at draws of the guide in every step.

    Args:
        model: a model with an unnormalised density, p.
        guide: a guide over observations, q.
        revision: "sgld" or "sghmc" for real numbers, "gibbs", or "mis"; by default sgld for real
            numbers, and for others gibbs with guide `generator`, and mis with other guides.
        steps: moves, sweeps or proposals of a draw.
        sampling_steps: the same outside training, where draws stand for those of the model; as many
            as in training if not given.
        step_size: of sgld and sghmc, in units of standardised features as in `PCD`; 0.001 if not
            given.
        noise: standard deviation of the noise of a move, in the same units; that of Langevin
            dynamics if not given. Less of it draws from a field at a lower temperature.
        friction: of sghmc; 0.1 if not given.
        latents: of sgld and sghmc with a generator: "kept" moves x alone and keeps its noise, and
            "revised" moves both, see `pyrodgm.objectives.revision.Langevin`; kept if not given.
        particles: chains of mis, K; 100 if not given.

    Raises:
        UsageError: an option that this revision does not have.
        CompatibilityError: a revision that is not for this guide or data.

    Reference: Song and Ou, Learning neural random fields with inclusive auxiliary generators, 2018;
    for mis, Wang and Ou, Language modeling with neural trans-dimensional random fields, 2017.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("ML", "KL(p, q)", "alg. 8, eq. 42-44"),)

    def __init__(  # noqa: PLR0913 - the signature is the schema of the options
        self,
        model: Model,
        guide: Guide,
        *,
        revision: Revision | None = None,
        steps: Annotated[int, Field(ge=1)] = 10,
        sampling_steps: Annotated[int, Field(ge=1)] | None = None,
        step_size: Positive | None = None,
        noise: Annotated[float, Field(ge=0)] | None = None,
        friction: Annotated[float, Field(gt=0, le=1)] | None = None,
        latents: Literal["kept", "revised"] | None = None,
        particles: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__(model, guide)
        by = revision or self._usual()
        given = {"step_size": step_size, "noise": noise, "friction": friction, "latents": latents}
        refuse_others(by, {**given, "particles": particles})
        self._refuse_unless_fitting(by)
        kernel = SGLD if by == "sgld" else partial(SGHMC, friction=friction or FRICTION)
        langevin = kernel(STEP if step_size is None else step_size, noise=noise)
        revised_by = partial(revision_by, by, langevin, latents=latents == "revised")
        self.revision, self.sampling = revised_by(steps), revised_by(sampling_steps or steps)
        rows = model.traits.sequential is False and not model.info.num_conditions
        self.chains = Chains() if by == "mis" and rows else None
        self.particles = particles or CHAINS
        self.acceptance = RunningFromFirst(0.95)

    def begin(self, training: Sequences) -> None:
        """Refuse missing values, and start chains, if any, at draws of the guide."""
        super().begin(training)
        if self.chains is not None:
            self.chains["x"] = self.noise.draw(self._rows())

    def loss(self, batch: Batch) -> Loss:
        """Both gradients: of the field by data and revised draws, of the guide by the latter."""
        revised, where = self.revised(batch)
        if self.training:
            self.acceptance.update(revised.accepted)
            if self.chains is not None:
                self.chains["x"] = revised.x
        own = self.potential(batch.x, batch)
        of_draws = self.potential(revised.x, where)
        name, nats = self._learned(revised, where)
        report = {self.headline: (own - of_draws).detach(), name: nats.detach()}
        if isinstance(self.revision, Independent):
            report["acceptance"] = revised.accepted
        sites = {
            "potential of the data": own.detach(),
            "potential of revised draws": of_draws.detach(),
            "log-probability of revised draws": nats.detach(),
        }
        frames = batch.mask.sum()
        return Loss((of_draws - own - nats) * frames / batch.size, report, sites)

    def revised(self, batch: Batch) -> tuple[Revised, Batch]:
        """Draws that stand for those of the field, and the batch whose shape they have.

        Args:
            batch: B sequences, in whose shape they are, unless they are states of chains.
        """
        if self.chains is None or not isinstance(self.revision, Independent):
            return self.revision(self.field, self.noise, batch), batch
        where = self._rows()
        return self.revision(self.field, self.noise, where, self.chains["x"]), where

    def samplers(self) -> Mapping[str, Sampler]:
        """Draws of the guide, and other draws after their revision."""
        return {
            GUIDE: self.noise.draw,
            REVISED: lambda batch: self.sampling(self.field, self.noise, batch).x,
        }

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The exact log-likelihood where the normaliser is known; see `validate_energy`."""
        accepted = float(self.acceptance.value)
        if accepted < LEAST_ACCEPTED:
            warnings.warn(
                f"{accepted:.2%} of the guide's draws are accepted as draws of the field, so that "
                "chains hardly move: lower fit.lr, raise objective.steps, or choose another guide",
                ChainWarning,
                stacklevel=2,
            )
        return super().validate(sequences, seed=seed)

    def _learned(self, revised: Revised, batch: Batch) -> tuple[str, Tensor]:
        """What the guide increases, per frame, and its name in reports."""
        if isinstance(self.guide, GeneratorGuide) and revised.h is not None:
            nats = self.guide.log_joint(revised.x, revised.h, batch)
            return "guide_joint_nats_per_frame", frame_mean(nats, batch)
        name = (
            "guide_nats_per_frame"
            if self.guide.traits.has_density
            else "guide_bound_nats_per_frame"
        )
        return name, frame_mean(self.noise.log_prob(revised.x, batch), batch)

    def _rows(self) -> Batch:
        """The shape of the chains: K rows."""
        return alone(self.field.info.dim, self.particles, next(self.model.parameters()))

    def _usual(self) -> Revision:
        """The revision for these values and this guide."""
        if self.field.info.kind == "real":
            return "sgld"
        return "gibbs" if isinstance(self.guide, GeneratorGuide) else "mis"

    def _refuse_unless_fitting(self, by: Revision) -> None:
        """Refuse a revision that is not for this guide or these values.

        Raises:
            CompatibilityError: it is not.
        """
        kind, usual = self.field.info.kind, self._usual()
        if by in ("sgld", "sghmc") and kind != "real":
            raise CompatibilityError(
                f"revision is '{by}', which moves real numbers along a gradient, but "
                f"'{self.field.info.name}' has {kind} values; give objective.revision={usual}"
            )
        if by == "mis" and isinstance(self.guide, GeneratorGuide):
            raise CompatibilityError(
                "revision is 'mis', which weights draws by the density of the guide, but that of "
                f"guide generator is not known; give objective.revision={usual}, or use guide nade "
                "or vae"
            )


def revision_by(
    by: Revision, kernel: SGLD | SGHMC, steps: int, *, latents: bool
) -> Langevin | Sweeps | Independent:
    """A revision of a number of steps.

    Args:
        by: its name.
        kernel: of sgld and sghmc; a path of sghmc gets as many leaps.
        steps: moves, sweeps or proposals.
        latents: whether sgld and sghmc move the noise of a generator too.
    """
    if by == "mis":
        return Independent(steps)
    if by == "gibbs":
        return Sweeps(steps)
    path = replace(kernel, leaps=steps) if isinstance(kernel, SGHMC) else kernel
    return Langevin(path, steps, latents=latents)


def refuse_others(by: Revision, given: Mapping[str, Any]) -> None:
    """Refuse options that a revision does not have.

    Raises:
        UsageError: one is given.
    """
    others = [name for name, value in given.items() if value is not None and name not in USED[by]]
    if others:
        raise UsageError(
            f"{' and '.join(others)} of InclusiveNRF: not of revision '{by}', whose options are "
            f"{', '.join(('steps', *USED[by]))}"
        )
