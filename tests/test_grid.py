"""One contract for every model, guide and objective of the registries."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.distributions import NADE, BernoulliVector, LinearBits, NormalVector, OneHotVector
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import GUIDES, Guide, GuideTraits, ObservationGuide
from pyrodgm.models import MODELS
from pyrodgm.networks.layers import SigmoidLayer
from pyrodgm.objectives import OBJECTIVES, Objective
from pyrodgm.objectives.state import OwnState
from pyrodgm.schema import schema
from pyrodgm.setup import compat, grid
from pyrodgm.storage import checkpoint
from pyrodgm.train.loop import FitOptions, Training

# A tiny size for everything that has a size: one row per model and per guide.
MODEL_SIZES: dict[str, dict[str, Any]] = {
    "tsbn": {"hidden_dim": 3, "history": 2},
    "hmsbn": {"hidden_dim": (3, 2), "history": 2},
    "dtsbn-s": {"hidden_dim": (3, 2), "history": 2},
    "dtsbn-d": {"hidden_dim": 3, "layer_dim": 5, "history": 2},
    "sbn": {"hidden_dim": (3, 2)},
    "ar": {"history": 2, "hidden_dim": 3},
    "rnn": {"hidden_dim": 3},
    "rnn-nade": {"hidden_dim": 3, "nade_dim": 2},
    "nade": {"hidden_dim": 3, "order_seed": 1},
    "darn": {"hidden_dim": (3, 2)},
    "hmm": {"num_states": 3},
    "lds": {"state_dim": 2},
    "vae": {"latent_dim": 2, "hidden_dim": (4, 4)},
    "dlgm": {"latent_dim": (2, 1), "hidden_dim": (4, 4)},
    "vrnn": {"latent_dim": 2, "hidden_dim": 3, "feature_dim": 16},
    "storn": {"latent_dim": 2, "hidden_dim": 3, "feature_dim": 16},
    "srnn": {"latent_dim": 2, "hidden_dim": 3, "feature_dim": 16},
    "dmm": {"latent_dim": 2, "transition_dim": 8, "hidden_dim": 16},
    "generator": {"noise_dim": 2, "hidden_dim": 8},
    "rbm": {"hidden_dim": 3},
    "sequence-field": {"hidden_dim": (8, 8)},
    "random-field": {"hidden_dim": (4, 3), "smooth": True},
    "trbm": {"hidden_dim": 3},
    "rtrbm": {"hidden_dim": 3},
}
GUIDE_SIZES: dict[str, dict[str, Any]] = {
    "autoregressive": {},
    "auxiliary": {"hidden_dim": (16, 16), "auxiliary_dim": 2},
    "bernoulli": {},
    "factorised": {"hidden_dim": (16, 16)},
    "flow": {"hidden_dim": (16, 16), "flow_dim": 8},
    "gaussian": {"hidden_dim": (16, 16)},
    "hamiltonian": {"hidden_dim": (16, 16), "steps": 2},
    "implicit": {"noise_dim": 3, "hidden_dim": (16, 16)},
    "layered-gaussian": {"hidden_dim": (16, 16)},
    "marginals": {},
    "nearest-code": {"hidden_dim": (16, 16)},
    "generator": {"noise_dim": 2, "hidden_dim": 8},
    "nade": {"hidden_dim": 3},
    "none": {},
    "refined": {"hidden_dim": (16, 16), "steps": 2},
    "semi-implicit": {"hidden_dim": (16, 16), "noise_dim": 2, "noises": 3},
    "rnn": {"hidden_dim": 3},
    "rnn-nade": {"hidden_dim": 3, "nade_dim": 2},
    "vae": {"latent_dim": 2, "hidden_dim": (4, 4)},
    "recurrent-bernoulli": {},
    "recurrent-deterministic": {"layer_dim": 5},
    "recurrent-gaussian": {"layer_dim": 5, "hidden_dim": 8},
    "smoothing-bernoulli": {"layer_dim": 5},
    "smoothing-gaussian": {"layer_dim": 5, "hidden_dim": 8},
    "srnn": {"layer_dim": 5},
    "vrnn": {},
}

D = 4
SYMBOLS = {"symbols": ((0, 1),) * D, "frequencies": (0.7, 0.3) * D}
INFO = DataInfo("tiny", "binary", D, (0.3,) * D, 4.0, 5, **SYMBOLS)
REAL = replace(INFO, kind="real")
INFOS = {"lds": REAL, "generator": REAL}  # of models that cannot score bits
OF_REALS = {"score-matching"}  # objectives that do not take bits
FORMS = compat.registered()
FITTING = list(compat.table())


def _pairs() -> Iterator[tuple[str, str, str]]:
    """Every model with every guide that fits, by the model's own objective where that fits too."""
    for model, guide in dict.fromkeys((model, guide) for model, guide, _ in FITTING):
        fitting = [o for m, g, o in FITTING if (m, g) == (model, guide)]
        companions = FORMS[model][1].companions
        own = companions.objective if companions else ""
        yield model, guide, own if own in fitting else fitting[0]


def _by_kind() -> Iterator[tuple[str, str, str]]:
    """Every objective with one pair of every kind of latents and of time that it takes."""
    seen = set()
    for model, guide, objective in FITTING:
        traits = FORMS[model][1].traits
        key = objective, traits.latents, traits.sequential
        if key not in seen:
            seen.add(key)
            yield model, guide, objective


# Not the full product: it would grow by a factor with every registry.
TRIPLES = sorted({*_pairs(), *_by_kind()})


def info_of(triple: tuple[str, str, str]) -> DataInfo:
    """Facts about the bits, or about the same as real numbers."""
    model, _, objective = triple
    return REAL if objective in OF_REALS else INFOS.get(FORMS[model][0], INFO)


def batch() -> Batch:
    """Bits, which every model takes for what it models."""
    x = torch.rand(3, 5, D).round()
    mask = torch.arange(5) < torch.tensor([5, 3, 1])[:, None]
    return Batch(x * mask[..., None], mask, torch.arange(3))


def build(triple: tuple[str, str, str], info: DataInfo | None = None, **options: Any) -> Objective:
    """A tiny objective; the options are the model's."""
    key, guide_name, objective_name = triple
    model_name, form = FORMS[key]
    info = info or info_of(triple)
    model = MODELS[model_name](info, **MODEL_SIZES[model_name], **form.options, **options)
    guide = GUIDES[guide_name](model, **GUIDE_SIZES[guide_name])
    compat.check(model, guide, OBJECTIVES[objective_name])
    objective = OBJECTIVES[objective_name](model, guide)
    objective.begin(Sequences(np.zeros((9, D), np.uint8), np.array([5, 3, 1])))  # of the batch
    return objective


def test_every_model_and_guide_is_in_some_triple_and_has_a_size() -> None:
    assert {model for model, _, _ in TRIPLES} == set(FORMS)
    assert set(MODELS) == set(MODEL_SIZES)
    assert set(GUIDE_SIZES) == set(GUIDES)
    without_density = {name for name, guide in GUIDES.items() if not guide.traits.has_density}
    assert set(GUIDES) - {guide for _, guide, _ in TRIPLES} <= without_density
    assert {objective for _, _, objective in TRIPLES} == set(OBJECTIVES)


# The cells of table 1 of the review, (objective for the model, objective for the guide).
REVIEW = {
    ("V-LB", "V-LB"),
    ("IW-LB", "IW-LB"),
    ("IW-LB", "KL by IS"),
    ("ML", "KL by MIS"),
    ("V-LB", "sleep"),
    ("IW-LB", "sleep"),
}  # and adversarial learning, ("f-divergence-LB", "f-divergence-LB"), which is still to come


def test_every_objective_says_what_it_optimises_and_the_review_is_covered() -> None:
    assert {name for name, _, _ in grid.entries()} == set(OBJECTIVES)
    targets = [targets for _, _, targets in grid.entries()]
    assert all(each.source for each in targets)
    assert {(each.theta, each.phi) for each in targets if each.in_review} >= REVIEW


def test_the_grid_agrees_with_the_table_of_triples_and_with_refusals() -> None:
    cells = grid.grid()
    fitting = {(m, g, o) for (o, m), cell in cells.items() for g in cell.guides}
    assert fitting == set(FITTING)
    for (objective, model), cell in cells.items():
        assert bool(cell.guides) != bool(cell.reasons)
        for given, needed in cell.reasons:
            refusals = [
                " ".join(conflict)
                for guide in GUIDES.values()
                for conflict in compat.conflicts(FORMS[model][1], guide, OBJECTIVES[objective])
            ]
            trait = given.partition(" ")[2]
            assert any(f"{trait} {needed}" in refusal for refusal in refusals)


FIXED_GUIDE = {"nce"}  # objectives that do not train the guide


def fixed(objective: Objective) -> set[str]:
    """Names of the guide's parameters."""
    return {f"guide.{name}" for name, _ in objective.guide.named_parameters()}


@pytest.mark.parametrize("triple", TRIPLES, ids="-".join)
def test_loss_is_finite_and_every_parameter_learns(triple: tuple[str, str, str]) -> None:
    objective, data = build(triple), batch()
    updated: set[int] = set()
    for _ in range(3):  # a baseline that starts at zero passes nothing back at first
        for number, phase in enumerate(objective.built_phases):
            loss = objective(data, number)
            assert loss.surrogate.shape == ()
            assert all(torch.isfinite(value).all() for value in loss.report.values())
            assert not any(value.requires_grad for value in loss.report.values())
            parameters = list(phase.parameters())
            optimizer = torch.optim.SGD(parameters, lr=1e-2)
            optimizer.zero_grad()
            loss.surrogate.backward()
            updated |= {id(p) for p in parameters if p.grad is not None and p.grad.any()}
            optimizer.step()
    idle = {name for name, p in objective.named_parameters() if id(p) not in updated}
    assert idle == (fixed(objective) if triple[-1] in FIXED_GUIDE else set())


@pytest.mark.parametrize("triple", TRIPLES, ids="-".join)
def test_same_seed_same_result(triple: tuple[str, str, str]) -> None:
    values = []
    for _ in range(2):
        torch.manual_seed(5)
        objective, data = build(triple), batch()
        values.append([objective(data, n).surrogate for n in range(len(objective.built_phases))])
    assert values[0] == values[1]


@pytest.mark.parametrize("triple", TRIPLES, ids="-".join)
def test_weights_survive_a_checkpoint_bit_for_bit(triple, tmp_path) -> None:
    torch.manual_seed(1)
    first, second = build(triple), build(triple)
    first(batch())  # running averages are part of the state
    checkpoint.write(tmp_path / "step", {"objective": first}, {"step": 1})
    checkpoint.read_weights(tmp_path / "step", {"objective": second})
    parts = [[p for p in o.modules() if isinstance(p, OwnState)] for o in (first, second)]
    for kept, fresh in zip(*parts, strict=True):  # rows and chains, which are no weights
        fresh.load_own_state(kept.own_state())
    losses = []
    data = batch()
    for objective in (first, second):
        torch.manual_seed(2)
        losses.append(objective(data).surrogate)
    assert losses[0] == losses[1]


@pytest.mark.parametrize("triple", TRIPLES, ids="-".join)
def test_padding_and_order_of_the_batch_do_not_matter(
    triple: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a pair that cannot vary: every bit and every number is drawn from the noise zero."""
    for kind in (NormalVector, BernoulliVector, OneHotVector):
        monkeypatch.setattr(kind, "noise", lambda _, shape: torch.zeros(shape))
    for kind in (LinearBits, NADE):
        monkeypatch.setattr(kind, "_noise", lambda _, shape: torch.zeros(shape))
    monkeypatch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 0.5))
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    monkeypatch.setattr(torch.Tensor, "bernoulli", lambda p: (p > 0.5).to(p))
    objective = build(triple)
    layers = [each for each in objective.modules() if isinstance(each, SigmoidLayer)]
    with torch.no_grad():
        for layer in layers:
            for parameter in layer.parameters():
                parameter.zero_()
            layer.bias.bias.fill_(60.0)
    objective.eval()
    if isinstance(objective.guide, ObservationGuide):  # ones wherever there are data
        ones = lambda batch: batch.mask[..., None].expand_as(batch.x).to(batch.x)  # noqa: E731
        monkeypatch.setattr(objective.guide, "draw", ones)
    data = batch()
    extra = Batch(
        torch.cat([data.x, torch.ones(3, 2, D)], 1),
        torch.cat([data.mask, torch.zeros(3, 2, dtype=torch.bool)], 1),
        data.index,
    )
    order = torch.tensor([2, 0, 1])
    turned = Batch(data.x[order], data.mask[order], data.index[order])
    found = []
    for each in (data, extra, turned):
        torch.manual_seed(0)  # of chains, whose draws have nothing to do with the batch
        own = copy.deepcopy(objective).train()
        loss = own(each)
        running = [float(b.sum()) for b in own.buffers() if b.is_floating_point()]
        found.append(
            [float(next(iter(loss.report.values()))), float(loss.surrogate.detach()), *running]
        )
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("triple", TRIPLES, ids="-".join)
def test_a_few_steps_of_training_run(triple: tuple[str, str, str]) -> None:
    from pyrodgm.train.devices import launch

    split = Sequences(np.eye(D, dtype=np.uint8).repeat(3, 0), np.array([5, 4, 3]))
    splits = Splits(info_of(triple), split, split, split)
    options = FitOptions(steps=3, batch_size=2)
    training = Training(build(triple), splits, options, launch(options))
    assert [progress.step for progress in training.steps()] == [1, 2, 3]


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    class Smooth(Guide):
        """Draws numbers where bits are asked for."""

        traits = GuideTraits(latents="continuous", sequential=True, reparameterised=True)

        def forward(self, batch: Batch) -> None:
            raise AssertionError("must not run")

    model = MODELS["tsbn"](INFO, **MODEL_SIZES["tsbn"])
    with pytest.raises(CompatibilityError, match="draws continuous latents") as caught:
        compat.check(model, Smooth(model), OBJECTIVES["nvil"])
    assert "recurrent-bernoulli" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "emission"),
    [
        (name, emission)
        for name, cls in MODELS.items()
        for emission in (
            "categorical",
            "darn",
            "gaussian",
            "gaussian-mixture:2",
            "multinomial",
            "nade",
        )
        if {"emission", "nade_dim"} <= schema(cls).keys()
    ],
)
def test_every_parameter_learns_with_every_emission(name: str, emission: str) -> None:
    companions, options = MODELS[name].companions, {"nade_dim": 2} if emission == "nade" else {}
    kinds = {"darn": "binary", "gaussian": "real", "multinomial": "count", "nade": "binary"}
    kind = kinds.get(emission.partition("-")[0], emission)
    triple = (name, companions.guide, companions.objective)
    objective = build(triple, replace(INFO, kind=kind), emission=emission, **options)
    objective(batch()).surrogate.backward()
    idle = [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize("registry", [MODELS, GUIDES, OBJECTIVES])
def test_constructors_are_schemas(registry: dict[str, type[nn.Module]]) -> None:
    """Every option is keyword-only, typed and has a default, and the docstring explains it."""
    for name, cls in registry.items():
        for option, parameter in schema(cls).items():
            assert parameter.default is not inspect.Parameter.empty, (name, option)
            owners = [*cls.__mro__, *getattr(cls, "options_of", object).__mro__]
            docs = "".join(base.__doc__ or "" for base in owners)
            assert f"{option}:" in docs, (name, option)
