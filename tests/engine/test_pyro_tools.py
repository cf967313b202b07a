"""The table of docs/pyro.md, cell by cell: each tool of Pyro is right on a form, or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    SVI,
    Predictive,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    config_enumerate,
    infer_discrete,
)
from pyro.infer.autoguide import AutoDelta, AutoNormal
from pyro.infer.mcmc.util import initialize_model
from pyro.nn import PyroModule, PyroSample
from pyro.nn.module import to_pyro_module_
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from oracles import Enumerated, all_paths, assert_mean, gradient
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import bit_vectors
from pyrodgm.engine.programs import fused, unrolled
from pyrodgm.engine.sites import Site
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import GuideTraits, RecurrentBernoulli, StepGuide
from pyrodgm.models import HMM, TSBN, ModelTraits, StepModel
from pyrodgm.objectives import RLOO
from pyrodgm.setup import compat
from variants import INFOS, VARIANTS, D, frames, output_log_probs, pair, path_log_probs, randomised

Form = Callable[..., Any]
FORMS: dict[str, Form] = {
    "fused": fused,
    "unrolled": unrolled,
    "enumerable": partial(unrolled, enumerable=True),
}
DOCS = Path(__file__).parents[2] / "docs" / "pyro.md"
COPIES = 400  # rows that repeat one sequence: independent draws at vector speed
REFUSALS = (
    r"pyrodgm\.engine\.programs\.unrolled|"
    r"Continuous inference cannot handle discrete sample site|"
    r"must be fully reparameterized|a handler gives '.*' another value"
)


@pytest.fixture(autouse=True)
def _own_param_store():
    with pyro.get_param_store().scope():
        yield


def nothing(batch: Batch) -> None:
    """The guide of a model whose latents are summed out."""


def bits(length: int = 3) -> Tensor:
    return frames("nade", length)


def rows(x: Tensor, copies: int = COPIES) -> Batch:
    return Batch.of(x.expand(copies, *x.shape))


def path_of(nodes: Any, name: str, form: Form, dim: int = 2) -> Tensor:
    """The value of a site in all frames of a trace, (..., B, T, J)."""
    if form is fused:
        return nodes[name]["value"]
    value = torch.stack([node["value"] for key, node in nodes.items() if _is_of(key, name)])
    value = value.movedim(0, -1 if form is FORMS["enumerable"] else -2)
    return bit_vectors(dim).double()[value] if form is FORMS["enumerable"] else value


def _is_of(key: str, name: str) -> bool:
    return key.startswith(f"{name}_") and key.removeprefix(f"{name}_").isdecimal()


def data_of(name: str, path: Tensor, form: Form) -> dict[str, Tensor]:
    """A path (B, T, J) as handlers take it."""
    if form is fused:
        return {name: path}
    if form is FORMS["enumerable"]:
        path = (path @ torch.tensor([2.0, 1.0]).double()).long()
    return {f"{name}_{t + 1}": value for t, value in enumerate(path.unbind(1))}


def elbo_gradient(form: Form, kind: type[Any]) -> None:
    """The value and the gradient of the bound, by enumeration."""
    (model, guide), x = pair("tsbn"), bits()
    exact, parameters = Enumerated(model, guide, x), [*model.parameters(), *guide.parameters()]
    elbo, losses, samples = kind(max_plate_nesting=1), [], []
    for _ in range(20):
        for parameter in parameters:
            parameter.grad = None
        losses.append(elbo.loss_and_grads(form(model), form(guide), rows(x)) / COPIES)
        samples.append(torch.cat([w.grad.flatten() for w in parameters]) / COPIES)
    assert_mean(torch.tensor(losses).double(), -exact.elbo().detach())
    assert_mean(torch.stack(samples), -gradient(exact.elbo(), parameters), power=0.3)


def renyi(form: Form) -> None:
    (model, guide), x = pair("tsbn"), bits()
    elbo = RenyiELBO(alpha=0.0, num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    found = [elbo.loss(form(model), form(guide), rows(x)) / COPIES for _ in range(10)]
    exact = Enumerated(model, guide, x).iwae(2).detach()
    assert_mean(torch.tensor(found).double(), -exact)


def wake_sleep(form: Form) -> None:
    (model, guide), x = pair("tsbn"), bits()
    elbo = ReweightedWakeSleep(num_particles=2, max_plate_nesting=1)
    losses = [elbo.loss(form(model), form(guide), Batch.of(x[None]))[0] for _ in range(40)]
    exact = Enumerated(model, guide, x).iwae(2).detach()
    assert_mean(torch.tensor(losses).double(), -exact, power=0.3)


def enumerated_guide(form: Form) -> None:
    for variant in ("tsbn order 2", "dtsbn-s", "dtsbn-d"):
        (model, guide), x = pair(variant), bits()
        elbo = TraceEnum_ELBO(max_plate_nesting=1)
        loss = elbo.differentiable_loss(
            form(model), config_enumerate(form(guide)), Batch.of(x[None])
        )
        parameters, exact = list(guide.parameters()), -Enumerated(model, guide, x).elbo()
        torch.testing.assert_close(loss, exact)
        torch.testing.assert_close(gradient(loss, parameters), gradient(exact, parameters))


def enumerated_model(form: Form) -> None:
    for variant in ("tsbn order 2", "dtsbn-s", "dtsbn-d"):
        (model, guide), x = pair(variant), bits()
        elbo = TraceEnum_ELBO(max_plate_nesting=1)
        loss = elbo.loss(config_enumerate(form(model)), nothing, Batch.of(x[None]))
        assert -loss == pytest.approx(float(Enumerated(model, guide, x).evidence()))


def posterior(model: nn.Module, guide: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """All paths (S, T, J) and their probabilities given x."""
    exact = Enumerated(model, guide, x)
    return exact.paths["z"], exact.log_p.sum(-1).softmax(0).detach()


def marginals(form: Form) -> None:
    (model, guide), x = pair("tsbn"), bits()
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    found = elbo.compute_marginals(config_enumerate(form(model)), nothing, rows(x, 2))
    paths, probabilities = posterior(model, guide, x)
    for t, law in enumerate(found.values()):
        mean = (probabilities[:, None] * paths[:, t]).sum(0).expand(2, -1)
        torch.testing.assert_close(law.probs @ bit_vectors(2).double(), mean)


def discrete_posterior(form: Form) -> None:
    """Viterbi's path, and draws from the posterior."""
    (model, guide), x = pair("tsbn"), bits()
    paths, probabilities = posterior(model, guide, x)
    for temperature, copies in ((0, 2), (1, 4000)):
        program = infer_discrete(config_enumerate(form(model)), -2, temperature=temperature)
        nodes = poutine.trace(program).get_trace(rows(x, copies)).nodes
        found = path_of(nodes, "z", form).flatten(1)
        if temperature == 0:
            assert torch.equal(found, paths[probabilities.argmax()].flatten().expand(2, -1))
        else:
            assert_mean(found, (probabilities[:, None] * paths.flatten(1)).sum(0), power=0.1)


class Walk(StepModel):
    """A random walk seen through noise."""

    traits = ModelTraits(latents="continuous", sequential=True)

    def __init__(self) -> None:
        super().__init__(INFOS["gaussian"])
        self.history, self.observed = 1, {"x": 1}
        self.latents = {"z": Site(1, "continuous")}
        self.slope = nn.Parameter(torch.tensor(0.7).double())

    def step(self, draw, past, encoded, t) -> None:
        z = draw("z", dist.Normal(self.slope * past["z"], 1.0).to_event(1))
        draw("x", dist.Normal(z, 1.0).to_event(1))


class WalkGuide(StepGuide):
    """Normal draws around half of what was seen."""

    traits = GuideTraits(latents="continuous", sequential=True, reparameterised=True)

    history = 1

    def __init__(self, model: Walk) -> None:
        super().__init__(model)
        self.scale = nn.Parameter(torch.tensor(0.8).double())

    def encode(self, batch: Batch) -> Tensor:
        return 0.5 * batch.x

    def step(self, draw, past, encoded, t) -> None:
        draw("z", dist.Normal(encoded + 0.3 * past["z"], self.scale).to_event(1))


WALK = torch.tensor([[0.4], [1.7]]).double()


def walk_joint(model: Walk) -> MultivariateNormal:
    """The prior of both frames."""
    root = torch.eye(2).double()
    root[1, 0] = model.slope.detach()
    return MultivariateNormal(torch.zeros(2).double(), root @ root.T)


def mean_field(form: Form) -> None:
    model = Walk()
    guide = WalkGuide(model)
    root = torch.tensor([[1.0, 0.0], [0.3, 1.0]]).double()
    mean = root @ (0.5 * WALK[:, 0])
    q = MultivariateNormal(mean, 0.64 * root @ root.T)
    fit = MultivariateNormal(mean, torch.eye(2).double()).log_prob(WALK[:, 0])
    exact = fit - 0.5 * q.variance.sum() - kl_divergence(q, walk_joint(model))
    elbo = TraceMeanField_ELBO(max_plate_nesting=1)
    found = [elbo.loss(form(model), form(guide), rows(WALK)) / COPIES for _ in range(20)]
    assert_mean(torch.tensor(found).double(), -exact)


def mean_field_bits(form: Form) -> None:
    model, guide = pair("tsbn")
    TraceMeanField_ELBO(max_plate_nesting=1).loss(form(model), form(guide), rows(bits()))


def nuts(form: Form) -> None:
    """The potential that NUTS moves in, of continuous latents."""
    model, batch = Walk(), Batch.of(WALK[None])
    values, potential, *_ = initialize_model(form(model), (batch,))
    z = torch.cat([value.flatten() for value in values.values()])
    exact = walk_joint(model).log_prob(z) + dist.Normal(z, 1.0).log_prob(WALK[:, 0]).sum()
    torch.testing.assert_close(potential(values), -exact)


def with_prior(model: nn.Module) -> nn.Module:
    """The model with a prior on its weights from latents to observations."""
    random = copy.deepcopy(model)
    to_pyro_module_(random)
    shape = random.x_from_z.weight.shape
    prior = dist.Normal(torch.zeros(shape).double(), 2.0).to_event(2)
    random.x_from_z.weight = PyroSample(prior)
    return random


def nuts_bits(form: Form) -> None:
    """The potential of random weights, with binary latents summed out."""
    (model, guide), x = pair("tsbn"), bits()
    values, potential, *_ = initialize_model(form(with_prior(model)), (Batch.of(x[None]),))
    (weight,) = values.values()
    with torch.no_grad():
        model.x_from_z.weight.copy_(weight)
    exact = Enumerated(model, guide, x).evidence() + dist.Normal(0.0, 2.0).log_prob(weight).sum()
    torch.testing.assert_close(potential(values), -exact)


def autoguide_bits(form: Form) -> None:
    AutoNormal(form(pair("tsbn")[0]))(rows(bits(), 2))


def autoguide_weights(form: Form) -> None:
    """The bound at given weights is that of enumeration, plus their prior; SVI moves them."""
    (model, guide), x = pair("tsbn"), bits()
    weight = model.x_from_z.weight.detach()
    names = list(data_of("z", torch.zeros(1, 3, 2).double(), form))
    program = form(with_prior(model))
    over_weights = AutoDelta(
        poutine.block(program, hide=names), init_loc_fn=lambda site: weight.clone()
    )

    def both(batch: Batch) -> None:
        over_weights(batch)
        form(guide)(batch)

    prior = dist.Normal(0.0, 2.0).log_prob(weight).sum()
    exact = Enumerated(model, guide, x).elbo().detach() + prior / COPIES
    elbo = Trace_ELBO(max_plate_nesting=1)
    found = [elbo.loss(program, both, rows(x)) / COPIES for _ in range(20)]
    assert_mean(torch.tensor(found).double(), -exact)
    SVI(program, both, pyro.optim.Adam({"lr": 0.1}), elbo).step(rows(x))
    (loc,) = over_weights.median(rows(x)).values()
    assert (loc - weight).abs().min() > 0.05


def svi(form: Form) -> None:
    """The first latent is told by the second frame alone: a local signal would leave it at 1/2."""
    info = DataInfo("one", "binary", 1, (0.5,), 2.0, 2)
    model = TSBN(info, hidden_dim=1)
    guide = RecurrentBernoulli(model)
    layer = model.layers[0]
    with torch.no_grad():
        for parameter in (*model.parameters(), *guide.parameters()):
            parameter.zero_()
        for weight, bias in ((layer.own, layer.bias), (model.x_from_z, model.x_bias)):
            weight.weight.fill_(8.0)
            bias.bias[1] = -4.0
    model.requires_grad_(False)
    batch = Batch.of(torch.ones(50, 2, 1))
    batch.seen = torch.tensor([False, True])[None, :, None].expand(50, 2, 1)
    trained = SVI(form(model), form(guide), pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(120):
        trained.step(batch)
    chance = guide.encode(batch)[0, 0].sigmoid().item()
    assert chance == pytest.approx(0.965, abs=0.05)


def predictive(form: Form) -> None:
    """Draws of the guide."""
    (model, guide), x = pair("tsbn"), bits()
    program = Predictive(form(model), guide=form(guide), num_samples=4000, parallel=True)
    found = {name: {"value": value} for name, value in program(rows(x, 2)).items()}
    exact = Enumerated(model, guide, x)
    mean = (exact.q[:, None] * exact.paths["z"].flatten(1)).sum(0).detach()
    assert_mean(path_of(found, "z", form)[:, 0].flatten(1), mean, power=0.1)


def generating(form: Form) -> None:
    """Observations become draws."""
    model, _ = pair("tsbn", "nade")
    program = poutine.uncondition(form(model))
    found = Predictive(program, num_samples=4000, parallel=True)(rows(bits(2), 2))["x_2"][:, 0]
    outputs = all_paths(2, D)
    mean = (output_log_probs(model, outputs).exp()[:, None] * outputs[:, 1]).sum(0)
    assert_mean(found, mean.detach(), power=0.1)


def one_layer(form: Form, handler: Callable[..., Any] = poutine.condition) -> None:
    """What one layer is set to is known to the other."""
    (model, _), x = pair("dtsbn-s"), bits(2)
    above = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double()
    program = handler(form(model), data=data_of("z2", above[None], form))
    nodes = poutine.trace(program).get_trace(rows(x, 6000)).nodes
    paths = {"z1": all_paths(2, 2)[:, None], "z2": above.expand(16, 1, 2, 2)}
    probabilities = path_log_probs(model, Batch.of(x[None]), paths)["z1"].sum(-1).exp()
    mean = (probabilities * paths["z1"][:, 0].flatten(1)).sum(0).detach()
    assert_mean(path_of(nodes, "z1", form).flatten(1), mean, power=0.1)


def replayed(form: Form) -> None:
    """The same values and log-probabilities again, and twice them under a scale."""
    (model, _), batch = pair("dtsbn-s"), rows(bits(2), 3)
    first = poutine.trace(form(model)).get_trace(batch)
    program = poutine.replay(form(model), trace=first)
    again = poutine.trace(program).get_trace(batch)
    assert torch.equal(*(path_of(trace.nodes, "z1", form) for trace in (first, again)))
    twice = poutine.trace(poutine.scale(program, scale=2.0)).get_trace(batch)
    totals = [trace.log_prob_sum() for trace in (first, again)]
    torch.testing.assert_close(totals[0], totals[1])
    torch.testing.assert_close(twice.log_prob_sum(), 2 * totals[0])


def lifted(form: Form) -> None:
    poutine.trace(poutine.lift(form(pair("tsbn")[0]), prior=dist.Normal(0.0, 1.0))).get_trace(
        rows(bits(), 2)
    )


def vectorised(form: Form) -> None:
    """Without latents every draw has the likelihood itself."""
    model = randomised(HMM(INFOS["bernoulli"], num_states=2))
    batch = rows(bits(), 2)
    exact = path_log_probs(model, batch, {})["x"].sum()
    elbo = Trace_ELBO(num_particles=3, vectorize_particles=True)
    assert -elbo.loss(form(model), nothing, batch) == pytest.approx(float(exact))


def distribution(form: Form) -> None:
    """A traced site is a distribution: new draws of any shape, and `expand` leaves it alone."""
    guide, batch = randomised(pair("tsbn")[1], 0.3), rows(bits(), 2)
    with torch.no_grad():
        site = list(poutine.trace(form(guide)).get_trace(batch).nodes.values())[-2]["fn"]
        draws, shape = site.sample(torch.Size([4000])), site.shape()
        assert draws.shape == (4000, *shape)
        assert not torch.equal(draws[0], draws[1])
        assert site.expand(torch.Size([5, 2])).sample().shape == (5, *shape)
        assert site.sample().shape == shape
        assert site.log_prob(draws).shape == (4000, *shape[:1])
        # Probabilities add up: the mean of 1 / p over draws is the number of values.
        number = 64.0 if form is fused else 4.0
        assert_mean((-site.log_prob(draws)[:, 0]).exp(), number, power=0.5)


CHECKS: dict[str, Form] = {
    "`Trace_ELBO`": partial(elbo_gradient, kind=Trace_ELBO),
    "`TraceGraph_ELBO`": partial(elbo_gradient, kind=TraceGraph_ELBO),
    "`RenyiELBO`, the bound": renyi,
    "`ReweightedWakeSleep`, a batch of one sequence": wake_sleep,
    "`TraceMeanField_ELBO`, continuous latents": mean_field,
    "`TraceMeanField_ELBO`, binary latents": mean_field_bits,
    "`TraceEnum_ELBO`, the guide enumerated": enumerated_guide,
    "`TraceEnum_ELBO`, the model enumerated": enumerated_model,
    "`TraceEnum_ELBO.compute_marginals`": marginals,
    "`infer_discrete`": discrete_posterior,
    "`SVI`": svi,
    "`HMC`, `NUTS`, continuous latents": nuts,
    "`HMC`, `NUTS`, random weights and binary latents": nuts_bits,
    "autoguides over continuous or random weights": autoguide_weights,
    "autoguides over binary latents": autoguide_bits,
    "`Predictive` with a guide": predictive,
    "`poutine.uncondition`: observations become draws": generating,
    "`poutine.condition` of some layers": one_layer,
    "`poutine.do` of some layers": partial(one_layer, handler=poutine.do),
    "`poutine.replay`, `poutine.scale`": replayed,
    "`poutine.lift`, `poutine.substitute` of weights": lifted,
    "vectorised particles, with or without latents": vectorised,
    "a traced site as a distribution": distribution,
}


def cells() -> list[tuple[str, str, str]]:
    """Every tool, form and verdict of the table in the docs."""
    lines = DOCS.read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("| tool |")) + 2
    table = []
    for line in lines[first:]:
        if not line.startswith("|"):
            return table
        tool, *verdicts = [cell.strip() for cell in line.strip("|").split("|")]
        table += [(tool, form, verdict) for form, verdict in zip(FORMS, verdicts, strict=True)]
    return table


def test_the_table_names_every_tool_that_is_checked() -> None:
    assert {tool for tool, _, _ in cells()} == set(CHECKS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("tool", "form", "verdict"), cells())
def test_tools(tool: str, form: str, verdict: str) -> None:
    check = partial(CHECKS[tool], FORMS[form])
    if verdict == "right":
        check()
        return
    assert verdict == "refused"
    with pytest.raises((CompatibilityError, ValueError, NotImplementedError), match=REFUSALS):
        check()


def test_every_model_and_guide_can_be_a_pyro_module() -> None:
    """It states each of its weights once, in both forms; and so do two of a class."""
    for variant in VARIANTS:
        programs = pair(variant)
        for program in programs:
            to_pyro_module_(program)
        assert isinstance(programs[0], PyroModule)
        batch = rows(bits(), 2)
        for program in programs:
            for form in (fused, unrolled):
                trace = poutine.trace(form(program)).get_trace(batch)
                assert len(trace.param_nodes) == len(list(program.parameters()))
    assert PyroModule[TSBN](INFOS["bernoulli"], hidden_dim=3).dims["z"] == 3


def test_two_models_of_a_class_are_both_trained() -> None:
    models = [TSBN(INFOS["bernoulli"], hidden_dim=2) for _ in range(2)]
    pyro.module("mine", models[1])
    for model in models:
        nodes = poutine.trace(model).get_trace(rows(bits().float(), 2)).nodes
        stated = {id(n["value"].unconstrained()) for n in nodes.values() if n["type"] == "param"}
        assert stated == {id(parameter) for parameter in model.parameters()}
    assert len(pyro.get_param_store()) == 2 * len(list(models[0].parameters()))


def test_our_objectives_refuse_random_weights() -> None:
    model, guide = pair("tsbn")
    with pytest.raises(CompatibilityError, match=r"\(x_from_z.weight\).*AutoNormal"):
        compat.check(with_prior(model), guide, RLOO)


def test_random_weights_have_one_value_at_a_time() -> None:
    model, guide = pair("tsbn")
    elbo = Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    with pytest.raises(CompatibilityError, match="without vectorize_particles"):
        elbo.loss(with_prior(model), guide, rows(bits(), 2))
    model.x_from_z = with_prior(model).x_from_z
    with pytest.raises(CompatibilityError, match=r"convert all of it by .*to_pyro_module_"):
        poutine.trace(model).get_trace(rows(bits(), 2))


def test_more_bits_than_can_be_enumerated_are_refused() -> None:
    def run(program: nn.Module, length: int) -> None:
        enumerable = unrolled(program, enumerable=True)
        poutine.trace(enumerable).get_trace(rows(torch.zeros(length, D), 2))

    sizes = {"hidden_dim": 13}
    with pytest.raises(CompatibilityError, match=r"TSBN has 13 bits a frame: 2\^13 values"):
        run(TSBN(INFOS["bernoulli"], **sizes), 1)
    guide = RecurrentBernoulli(TSBN(INFOS["bernoulli"], hidden_dim=5))
    with pytest.raises(CompatibilityError, match="3 frames of 5 bits, which are enumerated tog"):
        run(guide, 3)


def test_values_of_another_shape_are_refused() -> None:
    model, _ = pair("tsbn")
    program = poutine.condition(model, data={"z": torch.zeros(2, 2).double()})
    with pytest.raises(CompatibilityError, match=r"site 'z' has .* expected \(..., 2, 3, 2\)"):
        poutine.trace(program).get_trace(rows(bits(), 2))


def test_a_layer_that_was_drawn_with_another_value_is_refused() -> None:
    """The third layer was drawn together with what the second would have been."""
    (model, _), batch = pair("dtsbn-s 3"), rows(bits(2), 2)
    program = poutine.do(model, data={"z2": torch.full((2, 2, 1), 0.5).double()})
    with pytest.raises(CompatibilityError, match="a handler set site 'z2' after z3 had been drawn"):
        poutine.trace(program).get_trace(batch)
