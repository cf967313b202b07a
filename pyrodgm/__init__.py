"""Deep generative models as probabilistic programs: any model, any guide, any learning algorithm."""

from pyrodgm import data, guides, models, objectives
from pyrodgm.run import Run, fit

__version__ = "0.1.0"
__all__ = ["Run", "data", "fit", "guides", "models", "objectives"]
