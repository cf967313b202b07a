"""Deep generative models as probabilistic programs: any model, guide and learning algorithm."""

from pyrodgm import data, guides, models, objectives
from pyrodgm.runs.fitting import fit, resume
from pyrodgm.runs.run import Run
from pyrodgm.studies.runner import study

__version__ = "0.2.0"
__all__ = ["Run", "data", "fit", "guides", "models", "objectives", "resume", "study"]
