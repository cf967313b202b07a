"""Markov kernels over observations."""

from pyrodgm.engine.kernels.base import Gibbs, Kernel, Moved, Potential
from pyrodgm.engine.kernels.discrete_langevin import DiscreteLangevin
from pyrodgm.engine.kernels.gibbs_with_gradients import GibbsWithGradients
from pyrodgm.engine.kernels.independence import Independence
from pyrodgm.engine.kernels.langevin import MALA, SGHMC, SGLD
from pyrodgm.engine.kernels.tempering import Tempering

__all__ = [
    "MALA",
    "SGHMC",
    "SGLD",
    "DiscreteLangevin",
    "Gibbs",
    "GibbsWithGradients",
    "Independence",
    "Kernel",
    "Moved",
    "Potential",
    "Tempering",
]
