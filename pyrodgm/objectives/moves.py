"""How the Markov chains of an objective move: a kernel by its name, its sizes, and moves a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils import parametrize

from pyrodgm.data.base import Kind
from pyrodgm.engine.kernels import (
    MALA,
    SGHMC,
    SGLD,
    DiscreteLangevin,
    Gibbs,
    GibbsWithGradients,
    Kernel,
    Moved,
    Potential,
    Tempering,
)
from pyrodgm.engine.kernels.tempering import refuse_betas
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.models.energies import Energies
from pyrodgm.models.energy import BatchEnergies, ChainKind, EnergyModel

KernelName = Literal["auto"] | ChainKind
Betas = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=2)
]  # inverse temperatures, the first one 1
Size = Annotated[float, Field(gt=0)]
FITTING: dict[ChainKind, tuple[Kind, ...]] = {  # kinds of data whose codes a kernel moves
    "gibbs-with-gradients": ("binary", "categorical"),
    "discrete-langevin": ("binary", "categorical"),
    "sgld": ("real",),
    "sghmc": ("real",),
    "mala": ("real",),
}
STEPS: dict[ChainKind, int] = {"sghmc": 1}  # usual moves a step; of others but "gibbs"
OTHERS = 10
STEP_SIZES: dict[ChainKind, float] = {"discrete-langevin": 0.2}  # usual ones; of others
SMALL = 0.01
SIZED = ("discrete-langevin", "sgld", "sghmc", "mala")
NOISY = ("sgld", "sghmc")


@dataclass(frozen=True)
class Moves:
    """The moves of chains in one step.

    Args:
        kind: of the kernel.
        steps: moves.
        step_size: of kernels that have one, in units of the standardised features.
        noise: of kernels that have one, in the same units; None for the usual one.
        betas: inverse temperatures of the copies of each chain; None for one copy.
    """

    kind: ChainKind
    steps: int
    step_size: float
    noise: float | None = None
    betas: tuple[float, ...] | None = None

    @classmethod
    def of(
        cls,
        model: EnergyModel,
        kernel: KernelName = "auto",
        *,
        steps: int | None = None,
        step_size: float | None = None,
        noise: float | None = None,
        betas: tuple[float, ...] | None = None,
    ) -> Moves:
        """Options of an objective with defaults in the place of those not given.

        Raises:
            CompatibilityError: the kernel does not move such data, or cannot be tempered.
            UsageError: a size that the kernel does not have, or betas that do not decrease from 1.
        """
        kind = model.chain if kernel == "auto" else kernel
        if betas is not None and kind == "gibbs":
            kind = _tempered(kernel, model.info.kind)
        refuse(kind, model.info.kind, step_size, noise)
        usual = model.gibbs_steps if kind == "gibbs" else STEPS.get(kind, OTHERS)
        if betas is not None:
            refuse_betas(betas)
        return cls(
            kind,
            usual if steps is None else steps,
            STEP_SIZES.get(kind, SMALL) if step_size is None else step_size,
            noise,
            betas,
        )

    @property
    def rejects(self) -> bool:
        """Whether proposals may be rejected."""
        return self.kind not in ("gibbs", "sgld", "sghmc")

    @torch.no_grad()
    def __call__(self, model: EnergyModel, energies: Energies, x: Tensor) -> Moved:
        """States (..., B, T, D) after all moves of a step, and the mean acceptance of each.

        Args:
            model: whose codes the kernel moves.
            energies: the distributions of the frames.
            x: states; with several copies of each chain, these come first.
        """
        codes, accepted = model.codes(x), []
        potential = _of_codes(model, energies)
        kernel = self._kernel(model, energies)
        # Weights that are computed from others, as under weight normalisation, are so once.
        with parametrize.cached():
            for _ in range(self.steps):
                codes, each = kernel.move(codes, potential)
                accepted.append(each)
        mean = torch.stack(accepted).mean(0) if self.rejects else accepted[-1]
        return Moved(model.codes.decoded(codes), mean)

    def _kernel(self, model: EnergyModel, energies: Energies) -> Kernel:
        classes, size = model.codes.classes, self.step_size
        made: dict[ChainKind, Callable[[], Kernel]] = {
            "gibbs": lambda: Gibbs(lambda c: model.codes(energies.gibbs(model.codes.decoded(c)))),
            "gibbs-with-gradients": lambda: GibbsWithGradients(classes),
            "discrete-langevin": lambda: DiscreteLangevin(-0.5 / size, classes),
            "sgld": lambda: SGLD(size, self.noise),
            "sghmc": lambda: SGHMC(size, noise=self.noise),
            "mala": lambda: MALA(size),
        }
        kernel = made[self.kind]()
        return kernel if self.betas is None else Tempering(kernel, self.betas)


def _tempered(kernel: KernelName, data: Kind) -> ChainKind:
    """The kernel of copies at several temperatures, for models that have draws of their own.

    Such draws have the temperature of the model.
    """
    if kernel == "gibbs":
        raise CompatibilityError(
            "kernel 'gibbs' draws at the temperature of the model alone, so objective.tempering is "
            "for other kernels; leave objective.kernel out"
        )
    return "mala" if data == "real" else "gibbs-with-gradients"


def _of_codes(model: EnergyModel, energies: Energies) -> Potential:
    """The potential of the frames as a function of their codes."""
    if isinstance(energies, BatchEnergies):
        return energies.potential_of_codes
    return lambda codes: energies.potential(model.codes.decoded(codes))


def refuse(kind: ChainKind, data: Kind, step_size: float | None, noise: float | None) -> None:
    """Raise where a kernel does not move such data, or does not have a size.

    Raises:
        CompatibilityError: of such data.
        UsageError: of such a size.
    """
    if data not in FITTING.get(kind, (data,)):
        fitting = ", ".join(name for name, kinds in FITTING.items() if data in kinds)
        raise CompatibilityError(
            f"kernel '{kind}' does not move {data} values; choose auto"
            + (f", {fitting}" if fitting else "")
            + " (--set objective.kernel=auto)"
        )
    for name, given, having in (("step_size", step_size, SIZED), ("noise", noise, NOISY)):
        if given is not None and kind not in having:
            raise UsageError(
                f"kernel '{kind}' has no {name}; leave it out, or choose {' or '.join(having)}"
            )
