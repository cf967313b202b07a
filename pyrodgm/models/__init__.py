"""What p is: generative models."""

from pyrodgm.models.base import Model, ModelTraits, SequenceModel
from pyrodgm.models.tsbn import TSBN

MODELS: dict[str, type[Model]] = {
    "tsbn": TSBN,
}

__all__ = ["MODELS", "TSBN", "Model", "ModelTraits", "SequenceModel"]
