"""Generative models p."""

from pyrodgm.engine.sites import Site
from pyrodgm.models.autoregressive import AR
from pyrodgm.models.base import Companions, Form, Model, ModelTraits, StateSpaceModel, StepModel
from pyrodgm.models.darn import DARN
from pyrodgm.models.dlgm import DLGM
from pyrodgm.models.dmm import DMM
from pyrodgm.models.dtsbn import DTSBND
from pyrodgm.models.energies import Annealing
from pyrodgm.models.energy import EnergyModel
from pyrodgm.models.frame_energy import FrameEnergyModel
from pyrodgm.models.generator import FeedForwardGenerator
from pyrodgm.models.hmm import HMM
from pyrodgm.models.implicit import Generator
from pyrodgm.models.lds import LDS
from pyrodgm.models.nade import NADE
from pyrodgm.models.random_field import RandomField
from pyrodgm.models.rbm import RBM
from pyrodgm.models.recurrent import RNN, RNNNADE
from pyrodgm.models.sbn import SBN
from pyrodgm.models.sequence_field import SequenceField
from pyrodgm.models.srnn import SRNN
from pyrodgm.models.storn import STORN
from pyrodgm.models.temporal import RTRBM, TRBM
from pyrodgm.models.tsbn import DTSBNS, HMSBN, TSBN
from pyrodgm.models.vae import VAE
from pyrodgm.models.vrnn import VRNN

MODELS: dict[str, type[Model]] = {
    "tsbn": TSBN,
    "hmsbn": HMSBN,
    "dtsbn-s": DTSBNS,
    "dtsbn-d": DTSBND,
    "sbn": SBN,
    "ar": AR,
    "rnn": RNN,
    "rnn-nade": RNNNADE,
    "nade": NADE,
    "darn": DARN,
    "hmm": HMM,
    "lds": LDS,
    "vae": VAE,
    "dlgm": DLGM,
    "vrnn": VRNN,
    "storn": STORN,
    "srnn": SRNN,
    "dmm": DMM,
    "generator": FeedForwardGenerator,
    "rbm": RBM,
    "sequence-field": SequenceField,
    "random-field": RandomField,
    "trbm": TRBM,
    "rtrbm": RTRBM,
}

__all__ = [
    "AR",
    "DARN",
    "DLGM",
    "DMM",
    "DTSBND",
    "DTSBNS",
    "HMM",
    "HMSBN",
    "LDS",
    "MODELS",
    "NADE",
    "RBM",
    "RNN",
    "RNNNADE",
    "RTRBM",
    "SBN",
    "SRNN",
    "STORN",
    "TRBM",
    "TSBN",
    "VAE",
    "VRNN",
    "Annealing",
    "Companions",
    "EnergyModel",
    "FeedForwardGenerator",
    "Form",
    "FrameEnergyModel",
    "Generator",
    "Model",
    "ModelTraits",
    "RandomField",
    "SequenceField",
    "Site",
    "StateSpaceModel",
    "StepModel",
]
