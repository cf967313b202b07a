"""Objectives: learning algorithms, each a class over a model and a guide."""

from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.objectives.aae import AAE
from pyrodgm.objectives.ali import ALI
from pyrodgm.objectives.alice import ALICE
from pyrodgm.objectives.avb import AVB
from pyrodgm.objectives.avrnn import AVRNN
from pyrodgm.objectives.base import Loss, Needs, Objective, Phase
from pyrodgm.objectives.cd import CD
from pyrodgm.objectives.concrete import Concrete
from pyrodgm.objectives.critic_elbo import CriticELBO
from pyrodgm.objectives.critic_term import CriticTerm, DistanceTerm
from pyrodgm.objectives.disarm import DisARM
from pyrodgm.objectives.dnce import DNCE
from pyrodgm.objectives.double_cv import DoubleCV
from pyrodgm.objectives.elbo import ELBO
from pyrodgm.objectives.exclusive_nrf import ExclusiveNRF
from pyrodgm.objectives.f_gan import FGAN
from pyrodgm.objectives.fivo import FIVO
from pyrodgm.objectives.gan import GAN
from pyrodgm.objectives.inclusive_nrf import InclusiveNRF
from pyrodgm.objectives.iwae import IWAE
from pyrodgm.objectives.jsa import JSA
from pyrodgm.objectives.ml import ML
from pyrodgm.objectives.muprop import MuProp
from pyrodgm.objectives.nce import NCE
from pyrodgm.objectives.nvil import NVIL
from pyrodgm.objectives.optimizer import OptimizerOptions
from pyrodgm.objectives.pcd import PCD
from pyrodgm.objectives.pyro_elbo import TraceELBO, TraceGraphELBO
from pyrodgm.objectives.reinmax import ReinMax
from pyrodgm.objectives.renyi_elbo import RenyiELBO
from pyrodgm.objectives.rloo import RLOO, LocalRLOO
from pyrodgm.objectives.rws import RWS
from pyrodgm.objectives.schedule import Schedule
from pyrodgm.objectives.score_matching import ScoreMatching
from pyrodgm.objectives.single import SinglePhase
from pyrodgm.objectives.sixo import SIXO
from pyrodgm.objectives.state import Chains, RowCache, Running
from pyrodgm.objectives.stl import STL
from pyrodgm.objectives.straight_through import StraightThrough
from pyrodgm.objectives.svae import SymmetricVAE
from pyrodgm.objectives.svi import ObjectiveELBO
from pyrodgm.objectives.targets import Targets
from pyrodgm.objectives.tvo import TVO
from pyrodgm.objectives.vimco import VIMCO
from pyrodgm.objectives.vq import VQ
from pyrodgm.objectives.wake_sleep import WakeSleep
from pyrodgm.objectives.wgan import WGAN

OBJECTIVES: dict[str, type[Objective]] = {
    "aae": AAE,
    "ali": ALI,
    "alice": ALICE,
    "avb": AVB,
    "avrnn": AVRNN,
    "cd": CD,
    "concrete": Concrete,
    "disarm": DisARM,
    "dnce": DNCE,
    "double-cv": DoubleCV,
    "elbo": ELBO,
    "exclusive-nrf": ExclusiveNRF,
    "f-gan": FGAN,
    "fivo": FIVO,
    "gan": GAN,
    "inclusive-nrf": InclusiveNRF,
    "iwae": IWAE,
    "jsa": JSA,
    "ml": ML,
    "muprop": MuProp,
    "nce": NCE,
    "nvil": NVIL,
    "pcd": PCD,
    "reinmax": ReinMax,
    "renyi-elbo": RenyiELBO,
    "rloo": RLOO,
    "rloo-local": LocalRLOO,
    "rws": RWS,
    "score-matching": ScoreMatching,
    "sixo": SIXO,
    "stl": STL,
    "straight-through": StraightThrough,
    "svae": SymmetricVAE,
    "trace-elbo": TraceELBO,
    "tracegraph-elbo": TraceGraphELBO,
    "tvo": TVO,
    "vimco": VIMCO,
    "vq": VQ,
    "wake-sleep": WakeSleep,
    "wgan": WGAN,
}

__all__ = [
    "AAE",
    "ALI",
    "ALICE",
    "AVB",
    "AVRNN",
    "CD",
    "DNCE",
    "ELBO",
    "FGAN",
    "FIVO",
    "GAN",
    "IWAE",
    "JSA",
    "ML",
    "NCE",
    "NVIL",
    "OBJECTIVES",
    "PCD",
    "RLOO",
    "RWS",
    "SIXO",
    "STL",
    "TVO",
    "VIMCO",
    "VQ",
    "WGAN",
    "Chains",
    "Concrete",
    "CriticELBO",
    "CriticTerm",
    "DisARM",
    "DistanceTerm",
    "DoubleCV",
    "ExclusiveNRF",
    "InclusiveNRF",
    "LocalRLOO",
    "Loss",
    "MuProp",
    "Needs",
    "Objective",
    "ObjectiveELBO",
    "OptimizerOptions",
    "Phase",
    "ReinMax",
    "RenyiELBO",
    "RowCache",
    "Running",
    "Schedule",
    "ScoreMatching",
    "SinglePhase",
    "StraightThrough",
    "SymmetricVAE",
    "Targets",
    "TraceELBO",
    "TraceGraphELBO",
    "Validation",
    "WakeSleep",
]
