"""Tiny pairs of every variant of the family with every emission, for exact tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor, nn

from oracles import (
    Look,
    Score,
    all_paths,
    bernoulli,
    categorical,
    deterministic_log_p,
    gaussian,
    layered_log_p,
    multinomial,
    nade,
)
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine import programs as sequences
from pyrodgm.engine.sites import sizes
from pyrodgm.engine.terms import Terms
from pyrodgm.guides import LayeredBernoulli, RecurrentBernoulli, RecurrentDeterministic
from pyrodgm.guides.base import StepGuide
from pyrodgm.models import DTSBND, DTSBNS, HMSBN, SBN, TSBN, StepModel

D = 3
SYMBOLS = ((1, 2), (0, 3, 7), (4, 5))
OWNER = torch.tensor([0, 0, 1, 1, 1, 2, 2])
CENTRE, SPREAD = torch.tensor([-1.0, 0.5, 4.0]).double(), torch.tensor([0.5, 1.0, 2.0]).double()
STEP = torch.tensor([0.25, 1.0, 0.5]).double()


@dataclass(frozen=True)
class Variant:
    """How a pair is made.

    Args:
        model: class of p.
        guide: class of q.
        p: options of the model.
        q: options of the guide.
        length: frames of a sequence whose paths can be enumerated.
    """

    model: type[StepModel]
    guide: type[StepGuide]
    p: Mapping[str, Any]
    q: Mapping[str, Any]
    length: int = 3


ONE, TWO = {"hidden_dim": 2}, {"hidden_dim": (2, 2)}
SECOND = {"history": 2}
VARIANTS = {
    "tsbn": Variant(TSBN, RecurrentBernoulli, ONE, {}),
    "tsbn order 2": Variant(TSBN, RecurrentBernoulli, ONE | SECOND, {}),
    "hmsbn": Variant(HMSBN, RecurrentBernoulli, ONE, {"feedback": False}),
    "deep hmsbn": Variant(HMSBN, RecurrentBernoulli, TWO, {"feedback": False}),
    "dtsbn-s": Variant(DTSBNS, RecurrentBernoulli, TWO, {}),
    "dtsbn-s order 2": Variant(
        DTSBNS, RecurrentDeterministic, TWO | SECOND, {"layer_dim": 3}
    ),
    "dtsbn-s 3": Variant(DTSBNS, RecurrentBernoulli, {"hidden_dim": (1, 1, 1)}, {}),
    "dtsbn-d": Variant(
        DTSBND, RecurrentDeterministic, ONE | {"layer_dim": 3}, {"layer_dim": 3}
    ),
    "dtsbn-d order 2": Variant(
        DTSBND, RecurrentDeterministic, ONE | SECOND | {"layer_dim": 3}, {"layer_dim": 3}
    ),
    "sbn": Variant(SBN, LayeredBernoulli, TWO, {}, length=1),
    "sbn network": Variant(
        SBN, LayeredBernoulli, TWO | {"layer_dim": 3}, {"layer_dim": 3}, length=1
    ),
}  # fmt: skip

INFOS = {
    "bernoulli": DataInfo("tiny", "unit", D, (0.3, 0.5, 0.7), 2.0, 3),
    "nade": DataInfo("tiny", "binary", D, (0.3, 0.5, 0.7), 2.0, 3),
    "gaussian": DataInfo(
        "tiny",
        "real",
        D,
        tuple(CENTRE.tolist()),
        2.0,
        3,
        tuple(SPREAD.tolist()),
        tuple(STEP.tolist()),
    ),
    "multinomial": DataInfo("tiny", "count", D, (2.0, 0.5, 1.0), 2.0, 3),
    "categorical": DataInfo(
        "tiny",
        "categorical",
        D,
        (1.4, 3.0, 4.5),
        2.0,
        3,
        symbols=SYMBOLS,
        frequencies=(0.6, 0.4, 0.2, 0.8, 0.0, 0.5, 0.5),
    ),
}
EMISSIONS = tuple(INFOS)
# Two conditions, one of them far from zero beside its spread, and one that never changes.
GIVEN_MEAN, GIVEN_STD = torch.tensor([2.0, 5e6]).double(), torch.tensor([3.0, 0.4]).double()
WITH_CONDITIONS = {
    "condition_mean": (*GIVEN_MEAN.tolist(), 7.0),
    "condition_std": (*GIVEN_STD.tolist(), 0.0),
}


def randomised(module: nn.Module, std: float = 0.8) -> nn.Module:
    """In double precision, with weights large enough for every term to matter."""
    for parameter in module.double().parameters():
        nn.init.normal_(parameter, std=std)
    return module


def conditions(*shape: int) -> tuple[Tensor, Tensor]:
    """Conditions as data holds them, and as networks see them, both (*shape, 3)."""
    standardised = torch.randn(*shape, 2).double()
    constant = torch.full((*shape, 1), 7.0).double()
    given = torch.cat([GIVEN_MEAN + GIVEN_STD * standardised, constant], -1)
    return given, torch.cat([standardised, 0 * constant], -1)


def pair(variant: str, emission: str = "bernoulli", **facts: Any) -> tuple[StepModel, StepGuide]:
    """The model and the guide of a variant; the facts are further ones of the data."""
    made, info = VARIANTS[variant], replace(INFOS[emission], **facts)
    size = {"nade_dim": 2} if emission == "nade" else {}
    model = made.model(info, **made.p, **size, emission=emission)
    guide = made.guide(model, **made.q)
    return randomised(model), randomised(guide)


def mild(variant: str) -> tuple[nn.Module, nn.Module]:
    """The model and the guide of a variant, with smaller weights."""
    model, guide = pair(variant)
    return randomised(model, 0.5), randomised(guide, 0.5)


def frames(emission: str, *shape: int) -> Tensor:
    """Observations (*shape, D) such as the emission scores."""
    uniform = torch.rand(*shape, D).double()
    return {
        "bernoulli": uniform,
        "nade": uniform.round(),
        "gaussian": CENTRE + SPREAD * torch.randn(*shape, D).double(),
        "multinomial": (4 * uniform).floor(),
        "categorical": symbols_at(uniform),
    }[emission]


def symbols_at(uniform: Tensor) -> Tensor:
    """Symbols, all alike probable, from numbers in the unit interval (..., D)."""
    columns = [
        torch.tensor(own)[(len(own) * part).long()].double()
        for own, part in zip(SYMBOLS, uniform.unbind(-1), strict=True)
    ]
    return torch.stack(columns, -1)


def one_hot(x: Tensor) -> Tensor:
    """Which symbol every feature has, (..., 7)."""
    columns = [x[..., d] == symbol for d, own in enumerate(SYMBOLS) for symbol in own]
    return torch.stack(columns, -1).double()


def numbers_seen(emission: str, numbers: Tensor, seen: Tensor) -> Tensor:
    """Those of the numbers of an emission, (..., size), that are of features seen, (D,)."""
    if emission == "categorical":
        return numbers[..., seen[OWNER]]
    return numbers.unflatten(-1, (-1, D))[..., seen].flatten(-2)  # one number or two per feature


def scoring(model: StepModel, emission: str, seen: slice = slice(None)) -> dict[str, Score | Look]:
    """What the oracles must know of an emission, `score` and `look`.

    Args:
        model: whose emission it is.
        emission: its name.
        seen: features that were observed, the same in every frame.
    """

    there = torch.zeros(D, dtype=torch.bool)
    there[seen] = True

    def kept(score: Score) -> Score:
        def of_kept(numbers: Tensor, x: Tensor) -> Tensor:
            return score(numbers_seen(emission, numbers, there), x[..., there])

        return of_kept

    def standardised(x: Tensor) -> Tensor:
        return (x - CENTRE) / SPREAD

    standardised.per_step = SPREAD / STEP

    def scaled(numbers: Tensor, x: Tensor) -> Tensor:
        return kept(gaussian)(numbers, standardised(x)) - SPREAD[seen].log().sum()

    return {
        "bernoulli": lambda: {"score": kept(bernoulli)},
        "gaussian": lambda: {"score": scaled, "look": standardised},
        "multinomial": lambda: {"score": kept(multinomial), "look": torch.log1p},
        "categorical": lambda: {"score": kept(categorical(SYMBOLS[seen])), "look": one_hot},
        "nade": lambda: {"score": nade(model.emission.weight_in, model.emission.weight_out)},
    }[emission]()


def path_log_probs(
    program: Any, batch: Batch, paths: Mapping[str, Tensor], *, fused: bool = True
) -> dict[str, Tensor]:
    """Log-probabilities of every site, (K, B, T), on given paths.

    Args:
        program: a sequence model or guide.
        batch: B sequences.
        paths: value of every latent site, each (K, 1 or B, T, J).
        fused: by the fused program, and not by the unrolled one.
    """
    values = {name: path.expand(-1, batch.size, -1, -1) for name, path in paths.items()}
    particles = max((len(path) for path in paths.values()), default=1)
    numbers = [""] if fused else [f"_{t + 1}" for t in range(batch.length)]
    if not fused:
        values = {
            name + number: path[:, :, t]
            for name, path in values.items()
            for t, number in enumerate(numbers)
        }
    form = sequences.fused if fused else sequences.unrolled
    run = poutine.condition(form(program, register=False), values)
    with pyro.plate("particles", particles, dim=-2):
        nodes = poutine.trace(run).get_trace(batch).nodes
    sites, shape = [*program.latents, *program.observed], (particles, batch.size)
    if fused:
        nats = {n: nodes[n]["fn"].frame_log_probs(nodes[n]["value"]) for n in sites}
        return {name: each.expand(*shape, batch.length) for name, each in nats.items()}
    return {
        name: torch.stack([_nats(nodes[name + n], shape) for n in numbers], -1) for name in sites
    }


def assert_terms_agree(model: Any, guide: Any, batch: Batch, found: Terms) -> None:
    """The terms of given draws are those of both executions."""
    for program, expected in ((model, found.p), (guide, found.q)):
        for fused in (True, False):
            nats = path_log_probs(program, batch, found.values, fused=fused)
            for name, each in nats.items():
                torch.testing.assert_close(each, expected[name])


def _nats(node: dict[str, Any], shape: tuple[int, ...]) -> Tensor:
    """Log-probabilities of a traced site, zero where it is masked."""
    return scale_and_mask(node["fn"].log_prob(node["value"]), mask=node["mask"]).expand(shape)


def assert_executions_agree(program: Any, batch: Batch, particles: int = 5) -> None:
    """Fused and unrolled give the same log-probabilities for the same random paths of bits."""
    paths = {
        name: torch.rand(particles, batch.size, batch.length, dim).round().to(batch.x)
        for name, dim in sizes(program.latents).items()
    }
    with torch.no_grad():
        whole = path_log_probs(program, batch, paths)
        steps = path_log_probs(program, batch, paths, fused=False)
    torch.testing.assert_close(whole, steps)


def latent_paths(program: Any, length: int) -> dict[str, Tensor]:
    """Every path of all latents, each (S, 1, T, J)."""
    dims = list(sizes(program.latents).values())
    parts = all_paths(length, sum(dims)).split(dims, -1)
    return {name: part[:, None] for name, part in zip(program.latents, parts, strict=True)}


def output_log_probs(model: StepModel, x: Tensor, given: Tensor | None = None) -> Tensor:
    """log p(x) of every sequence, (B,), by a sum over all paths of the latents; x (B, T, D).

    Conditions (T, U), if any, are the same for all.
    """
    paths = latent_paths(model, x.shape[1])
    given = None if given is None else given.expand(len(x), -1, -1)
    sites = path_log_probs(model, Batch.of(x, given), paths)
    return sum(sites.values()).sum(-1).logsumexp(0)


SEQUENTIAL = [name for name, variant in VARIANTS.items() if variant.length > 1]
WORDS = torch.eye(D).double()


def frame_terms(model, x, paths, frame):
    """log p(z_t, x_t = w | past) for every path and word w, and without x_t in the first column."""
    score = deterministic_log_p if hasattr(model, "cell") else layered_log_p
    columns = []
    for word in (torch.zeros(1, D), *WORDS[:, None]):
        changed = torch.cat([x[:frame], word.to(x), x[frame + 1 :]])
        columns.append(score(model, changed, paths, **scoring(model, "multinomial"))[:, frame])
    return torch.stack(columns, -1)


def chances_given_paths(model, x, paths):
    """p(w | z_t, x before t) of every path, (S, T, D)."""
    terms = torch.stack([frame_terms(model, x, paths, t) for t in range(len(x))], 1)
    return (terms[..., 1:] - terms[..., :1]).exp()
