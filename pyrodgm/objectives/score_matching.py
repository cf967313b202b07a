"""Score matching: learning of a density of real numbers without its normaliser."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, ClassVar, Literal, cast, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.data.kinds import taken_for
from pyrodgm.engine.kernels import Potential
from pyrodgm.errors import CompatibilityError, NonFiniteError, UsageError
from pyrodgm.evaluate.likelihood.energy import validate_energy
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.models.energy import EnergyModel
from pyrodgm.objectives.base import Loss, Needs, Objective
from pyrodgm.objectives.targets import Targets

Form = Literal["denoising", "sliced", "exact"]
Estimate = Callable[[Potential, Tensor], Tensor]

NOISE = 0.1  # usual standard deviation of denoising, of standardised features
MOST = 64  # features of which each has a backward pass of its own


@final
class ScoreMatching(Objective):
    r"""Score matching: the Fisher divergence of data and model, up to a constant.

    .. math::
        J = \mathrm{E}_{\tilde p} \Big[ \tfrac12 \|s(x)\|^2 + \mathrm{tr}\, \nabla s(x) \Big]
          = \tfrac12 \mathrm{E}_{\tilde p} \|s(x) - \nabla \log \tilde p(x)\|^2 + \text{const},
        \qquad s = \nabla_x \phi

    for x standardised by the training data. The normaliser has no part in it, and there are no
    chains. The three forms differ in the trace:

    .. math::
        \text{exact: } & \textstyle\sum_d \partial_d s_d(x) \\
        \text{sliced: } & v^\top \nabla (v^\top s(x)), \quad v \sim \mathcal N(0, I) \\
        \text{denoising: } & \epsilon^\top s(x + \sigma \epsilon) / \sigma, \quad
            \epsilon \sim \mathcal N(0, I)

    Sliced is unbiased for the exact J. Denoising is unbiased for J of the data with noise
    :math:`\sigma \epsilon`, which is added in :math:`\|s\|^2` too, and whose density the model
    learns; it has the gradient of :math:`\frac12 \|s(x + \sigma \epsilon) + \epsilon / \sigma\|^2`.
    It is a mean over :math:`\epsilon` and :math:`-\epsilon`, whose variance is bounded for
    :math:`\sigma \to 0`.

    Weights are chosen by the exact log-likelihood where log Z can be computed, and by -J otherwise.

    Args:
        model: a model of independent rows of real numbers with an unnormalised, smooth density.
        guide: the guide "none".
        form: "denoising", "sliced" or "exact", which takes a backward pass for each of at most 64
            features.
        noise: :math:`\sigma` of denoising; 0.1 if not given.
        slices: vectors v of sliced for each row; 1 if not given.

    Raises:
        CompatibilityError: values are not real numbers, the potential has kinks, or there are too
            many features for the exact trace.
        UsageError: an option that this form does not have.

    Reference: Hyvarinen, Estimation of non-normalized statistical models by score matching, 2005;
    Vincent, A connection between score matching and denoising autoencoders, 2011; Song, Garg, Shi
    and Ermon, Sliced score matching, 2019, equation 8 (with reduced variance).
    """

    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"none"}), density=frozenset({"unnormalised"}), sequential=False
    )
    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("Fisher divergence", "none", "Hyvarinen 2005, eq. 3-4"),
    )
    headline: ClassVar[str] = "score_matching_per_frame"

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        form: Form = "denoising",
        noise: Annotated[float, Field(gt=0)] | None = None,
        slices: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__(model, guide)
        refuse_unless_smooth(model)
        _refuse_options(form, model.info.dim, {"noise": noise, "slices": slices})
        self.form = form
        made: dict[Form, Estimate] = {
            "denoising": partial(denoising, noise=noise or NOISE),
            "sliced": partial(sliced, slices=slices or 1),
            "exact": exact,
        }
        self.estimate = made[form]

    @property
    def energy(self) -> EnergyModel:
        """The model, which has a potential."""
        return cast("EnergyModel", self.model)

    def loss(self, batch: Batch) -> Loss:
        """J, per sequence."""
        total, frames = self._total(batch), batch.mask.sum()
        report = {self.headline: total.detach() / frames}
        return Loss(total / batch.size, report, {"score matching": total.detach()})

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The exact log-likelihood if the normaliser can be computed, and -J otherwise.

        Raises:
            NonFiniteError: the score is not finite.
        """
        if self.energy.enumerable:
            return validate_energy(self.energy, sequences, seed=seed)
        total = 0.0
        with drawing(self.model, seed, "score matching") as device:
            for rows, _ in chunks(sequences.lengths, 1, width=self.model.frame_size):
                total += float(self._total(sequences.batch(rows).to(device)))
        found = total / sequences.num_frames
        if not math.isfinite(found):
            raise NonFiniteError(f"the score matching objective on validation is {found}")
        return Validation(f"{self.form} score matching", -found, {self.headline: found})

    def _total(self, batch: Batch) -> Tensor:
        """The sum of J over the frames of a batch."""
        potential = partial(self.energy.potential_of_codes, batch=batch)
        with torch.enable_grad():  # along the rows, in validation too
            found = self.estimate(potential, self.energy.codes(batch.x))
        return found.masked_fill(~batch.mask, 0.0).sum()


def exact(potential: Potential, x: Tensor) -> Tensor:
    """J at points (..., D) by the trace of the Hessian, (...)."""
    x, score = _score(potential, x)
    columns = [_slope(score[..., d], x)[..., d] for d in range(x.shape[-1])]
    return 0.5 * score.square().sum(-1) + torch.stack(columns).sum(0)


def sliced(potential: Potential, x: Tensor, *, slices: int) -> Tensor:
    """J at points (..., D) with the trace along some random vectors, (...)."""
    x, score = _score(potential, x)
    vectors = (torch.randn_like(x) for _ in range(slices))
    traces = [(v * _slope((v * score).sum(-1), x)).sum(-1) for v in vectors]
    return 0.5 * score.square().sum(-1) + torch.stack(traces).mean(0)


def denoising(potential: Potential, x: Tensor, *, noise: float) -> Tensor:
    """J at points (..., D) with normal noise, as a mean over both of its signs, (...)."""
    direction = torch.randn_like(x)
    both = torch.stack([direction, -direction])
    _, score = _score(potential, x + noise * both)
    return (0.5 * score.square() + both * score / noise).sum(-1).mean(0)


def _score(potential: Potential, x: Tensor) -> tuple[Tensor, Tensor]:
    """Points to differentiate along, and the gradient of the potential there, with a graph."""
    x = x.detach().requires_grad_()
    return x, _slope(potential(x), x)


def _slope(numbers: Tensor, x: Tensor) -> Tensor:
    """The gradient of one number for each point, (...), along it, (..., D), with a graph."""
    (slope,) = torch.autograd.grad(numbers.sum(), x, create_graph=True)
    return slope


def refuse_unless_smooth(model: Model) -> None:
    """Refuse a model whose potential cannot be differentiated twice.

    Raises:
        CompatibilityError: it cannot.
    """
    if not isinstance(model, EnergyModel):
        raise CompatibilityError(
            f"{type(model).__name__} has no potential; derive it from pyrodgm.models.EnergyModel"
        )
    info = model.info
    if info.kind != "real":
        raise CompatibilityError(
            f"score matching follows the gradient of a density of real numbers, but '{info.name}' "
            f"has {info.kind} values; choose objective pcd, cd or nce"
            f"{taken_for(info.kind, ('real',))}"
        )
    if not model.smooth:
        raise CompatibilityError(
            f"score matching learns from second derivatives of the potential, but rectified units "
            f"of {type(model).__name__} have none; set model.smooth=true"
        )


def _refuse_options(form: Form, dim: int, given: Mapping[str, float | None]) -> None:
    """Refuse options that a form does not have, and the exact trace of many features.

    Raises:
        UsageError: of such an option.
        CompatibilityError: of so many features.
    """
    owners = {"noise": "denoising", "slices": "sliced"}
    for name, value in given.items():
        if value is not None and owners[name] != form:
            raise UsageError(
                f"form '{form}' of ScoreMatching has no {name}; leave it out, or set "
                f"objective.form={owners[name]}"
            )
    if form == "exact" and dim > MOST:
        raise CompatibilityError(
            f"form 'exact' takes a backward pass for each of {dim} features, and allows at most "
            f"{MOST}; set objective.form=sliced or denoising"
        )
