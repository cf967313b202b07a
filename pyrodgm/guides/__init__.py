"""What q is: approximate posteriors."""

from pyrodgm.guides.base import Guide, GuideTraits, SequenceGuide
from pyrodgm.guides.recurrent import RecurrentBernoulli

GUIDES: dict[str, type[Guide]] = {
    "recurrent-bernoulli": RecurrentBernoulli,
}

__all__ = ["GUIDES", "Guide", "GuideTraits", "RecurrentBernoulli", "SequenceGuide"]
