"""Guides q: approximate posteriors."""

from pyrodgm.guides.autoregressive import AutoregressiveBernoulli
from pyrodgm.guides.auxiliary import Auxiliary
from pyrodgm.guides.base import Guide, GuideTraits, StepGuide
from pyrodgm.guides.flow import NormalFlow
from pyrodgm.guides.from_models import NADEGuide, RNNGuide, RNNNADEGuide
from pyrodgm.guides.hamiltonian import Hamiltonian
from pyrodgm.guides.implicit import FeedForwardImplicit, ImplicitGuide
from pyrodgm.guides.nearest import NearestCode
from pyrodgm.guides.nothing import NoGuide
from pyrodgm.guides.observations import Marginals, ObservationGuide
from pyrodgm.guides.recurrent import LayeredBernoulli, RecurrentBernoulli, RecurrentDeterministic
from pyrodgm.guides.refined import RefinedNormal
from pyrodgm.guides.rows import DiagonalNormal, Factorised, LayeredNormal
from pyrodgm.guides.semi_implicit import SemiImplicit
from pyrodgm.guides.smoothing import SmoothingBernoulli
from pyrodgm.guides.srnn import SRNNGuide
from pyrodgm.guides.structured import RecurrentNormal, SmoothingNormal
from pyrodgm.guides.vrnn import VRNNGuide
from pyrodgm.guides.with_latents import GeneratorGuide, VAEGuide

# In this order: a model without companions gets the first guide that fits.
GUIDES: dict[str, type[Guide]] = {
    "bernoulli": LayeredBernoulli,
    "autoregressive": AutoregressiveBernoulli,
    "factorised": Factorised,
    "flow": NormalFlow,
    "gaussian": DiagonalNormal,
    "implicit": FeedForwardImplicit,
    "layered-gaussian": LayeredNormal,
    "marginals": Marginals,
    "nearest-code": NearestCode,
    "none": NoGuide,
    "recurrent-bernoulli": RecurrentBernoulli,
    "recurrent-deterministic": RecurrentDeterministic,
    "recurrent-gaussian": RecurrentNormal,
    "refined": RefinedNormal,
    "semi-implicit": SemiImplicit,
    "smoothing-bernoulli": SmoothingBernoulli,
    "smoothing-gaussian": SmoothingNormal,
    "srnn": SRNNGuide,
    "vrnn": VRNNGuide,
    "auxiliary": Auxiliary,
    "hamiltonian": Hamiltonian,
    "generator": GeneratorGuide,
    "nade": NADEGuide,
    "rnn": RNNGuide,
    "rnn-nade": RNNNADEGuide,
    "vae": VAEGuide,
}

__all__ = [
    "GUIDES",
    "AutoregressiveBernoulli",
    "Auxiliary",
    "DiagonalNormal",
    "Factorised",
    "FeedForwardImplicit",
    "GeneratorGuide",
    "Guide",
    "GuideTraits",
    "Hamiltonian",
    "ImplicitGuide",
    "LayeredBernoulli",
    "LayeredNormal",
    "Marginals",
    "NADEGuide",
    "NearestCode",
    "NoGuide",
    "NormalFlow",
    "ObservationGuide",
    "RNNGuide",
    "RNNNADEGuide",
    "RecurrentBernoulli",
    "RecurrentDeterministic",
    "RecurrentNormal",
    "RefinedNormal",
    "SRNNGuide",
    "SemiImplicit",
    "SmoothingBernoulli",
    "SmoothingNormal",
    "StepGuide",
    "VAEGuide",
    "VRNNGuide",
]
