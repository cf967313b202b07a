"""Tiny pairs of continuous latents over time, and their bounds by quadrature."""

import inspect

import torch
from torch import nn

from pyrodgm.batch import Batch
from pyrodgm.engine.draws import score
from pyrodgm.guides import RecurrentNormal, SmoothingNormal, SRNNGuide, VRNNGuide
from pyrodgm.models import DMM, SRNN, STORN, VRNN
from pyrodgm.networks.transitions import GatedTransition
from variants import INFOS, randomised

SIZES = {"latent_dim": 1, "hidden_dim": 3}
FEATURES = SIZES | {"feature_dim": 4}
LAYERS = {"layer_dim": 3, "hidden_dim": 4}
PAIRS = {
    "vrnn": (VRNN, FEATURES, VRNNGuide, {}),
    "vrnn, residual": (VRNN, FEATURES, VRNNGuide, {"residual": True}),
    "vrnn, filtering": (VRNN, FEATURES, RecurrentNormal, LAYERS),
    "vrnn, skip": (VRNN, FEATURES | {"skip": True}, VRNNGuide, {}),
    "storn": (STORN, FEATURES, SmoothingNormal, LAYERS | {"past": True}),
    "storn, mean field": (STORN, FEATURES, SmoothingNormal, LAYERS | {"feedback": False}),
    "srnn": (SRNN, FEATURES, SRNNGuide, {"layer_dim": 3}),
    "srnn, no residual": (SRNN, FEATURES, SRNNGuide, {"layer_dim": 3, "residual": False}),
    "srnn, skip": (SRNN, FEATURES | {"skip": True}, SRNNGuide, {"layer_dim": 3}),
    "dmm": (DMM, SIZES | {"transition_dim": 3}, SmoothingNormal, LAYERS),
}
ONE_EACH = ["vrnn", "storn", "srnn", "dmm"]
STEPS, EDGE = 64, 8.0  # of the grid on which latents are integrated out


def made(name, emission="bernoulli", std=0.5, *, info=None, cell=None, **options):
    """A pair; `cell` is the recurrence of whatever has one."""
    p, sizes, q, guide_options = PAIRS[name]
    cells = {} if cell is None else {"cell": cell}
    model = p(info or INFOS[emission], **sizes | options, emission=emission, **cells_of(p, cells))
    guide = q(model, **guide_options, **cells_of(q, cells))
    return randomised(model, std), randomised(guide, std)


def cells_of(owner, options):
    return options if "cell" in inspect.signature(owner).parameters else {}


def grid(length):
    """All paths of one latent number on a grid, (S, 1, T, 1), and the log of its cells' size."""
    points = torch.linspace(-EDGE, EDGE, STEPS, dtype=torch.float64)
    paths = torch.cartesian_prod(*[points] * length).reshape(-1, 1, length, 1)
    return {"z": paths}, length * (points[1] - points[0]).log()


def by_quadrature(model, guide, x):
    """log p(x) and the evidence lower bound of one sequence, (T, D)."""
    paths, cell = grid(len(x))
    batch = Batch.of(x[None])
    log_p = sum(score(model, batch, paths).values()).sum((1, 2))
    log_q = score(guide, batch, paths)["z"].sum((1, 2))
    mass = (log_q + cell).exp()
    torch.testing.assert_close(mass.sum(), torch.ones_like(cell), rtol=0, atol=1e-6)
    bound = (mass * (log_p - log_q)).sum()
    return (log_p + cell).logsumexp(0), bound


def away_from_kinks(*modules):
    """Large biases before rectified units, whose rare draws at zero have no variance."""
    for module in modules:
        for parent in module.modules():
            if isinstance(parent, nn.Sequential) and len(parent) > 1:
                nn.init.constant_(parent[0].bias, 3.0)
            if hasattr(parent, "first") and isinstance(parent.first, nn.Linear):
                nn.init.constant_(parent.first.bias, 3.0)
            if isinstance(parent, GatedTransition):
                nn.init.constant_(parent.mean.bias, 3.0)
