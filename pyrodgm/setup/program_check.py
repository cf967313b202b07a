"""What a model or a guide gives on a few frames, before anything is trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.display import between, in_words
from pyrodgm.engine.draws import factors
from pyrodgm.engine.particles import Particles
from pyrodgm.engine.sites import Site, sizes
from pyrodgm.errors import CompatibilityError, DataError, PyrodgmError
from pyrodgm.guides import Guide, StepGuide
from pyrodgm.guides.implicit import ImplicitGuide
from pyrodgm.models import EnergyModel, FrameEnergyModel, Generator, Model, StepModel
from pyrodgm.seeds import forked
from pyrodgm.setup.userfile import place

TOLERANCE = 0.01  # nats, and relative, by which two runs of a step may differ
WITHOUT_GRADIENTS = (
    "without gradients to its weights, which would never learn; leave out detach() and "
    "torch.no_grad()"
)


def check_program(program: Model | Guide, batch: Batch, data: str) -> None:
    """Raise unless what a program defines has the shapes and values that its base class expects.

    Args:
        program: a model or a guide; one that is of no base with a single method is not run.
        batch: a few frames, B sequences of T frames.
        data: name of the data, for messages.

    Raises:
        CompatibilityError: it does not run, or gives something else than it declares.
        DataError: it cannot score the data.
    """
    with errors_in_words(program, data=data):
        if isinstance(program, StepModel | StepGuide):
            _check_frame(program, batch, data)
            if isinstance(program, StepGuide):
                _check_repeatable(program, batch)
        elif isinstance(program, EnergyModel):
            with torch.no_grad():
                _check_potential(program, batch)
        elif isinstance(program, Generator | ImplicitGuide):
            _check_generated(program, batch)


def check_registered(owner: nn.Module) -> None:
    """Raise if modules with weights are in a plain list, tuple or dictionary of a part.

    Args:
        owner: a module that holds all others, such as an objective.

    Raises:
        CompatibilityError: names the class and the attribute.
    """
    known = {id(parameter) for parameter in owner.parameters()}
    for part in owner.modules():
        for name, value in vars(part).items():
            if any(id(parameter) not in known for parameter in _weights_in(value)):
                raise CompatibilityError(
                    f"{type(part).__name__} holds modules in the {type(value).__name__} "
                    f"self.{name}, where their weights are neither trained nor stored; take "
                    "torch.nn.ModuleList or torch.nn.ModuleDict"
                )


def _weights_in(value: object) -> Iterator[nn.Parameter]:
    """The weights of modules in a plain container."""
    if isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            if isinstance(each, nn.Module):
                yield from each.parameters()


@contextmanager
def errors_in_words(
    *programs: Model | Guide, data: str, objective: nn.Module | None = None
) -> Iterator[None]:
    """Report an error inside programs, or an objective, with their names and the line."""
    try:
        yield
    except PyrodgmError:
        raise
    except Exception as error:  # a user's program may raise anything
        names = " with ".join(type(program).__name__ for program in programs)
        own = programs if objective is None else (*programs, objective)
        files = {inspect.getfile(type(part)) for part in own}
        where = place(error, files) or f"{type(error).__name__}: {error}"
        raise CompatibilityError(f"{names} does not run on '{data}': {where}") from error


def _check_frame(program: StepModel | StepGuide, batch: Batch, data: str) -> None:
    """Run the first frame, and check that every site is drawn once with its size and kind."""
    name = type(program).__name__
    sites = program.dims
    drawn: list[str] = []
    learned: list[bool] = []  # whether the log-probability of a site carries gradients

    def draw(site: str, distribution: TorchDistribution) -> Tensor:
        if site not in sites or site in drawn:
            what = "twice" if site in drawn else f"and declares {', '.join(sites) or 'no sites'}"
            raise CompatibilityError(f"{name} draws '{site}' in a frame, {what}")
        drawn.append(site)
        _check_distribution(name, site, distribution, sites[site])
        if site in program.observed:
            _check_support(name, distribution, batch.x, data)
            learned.append(_carries_gradients(distribution, batch.x[:, 0]))
            return batch.x[:, 0]
        declared = program.latents[site]
        if declared.kind == "continuous" and not program.carries_gradients(site):
            _check_pathwise(name, site, distribution)
        value = distribution.expand((1, batch.size)).sample()
        if not _is_of_kind(declared, value):
            raise CompatibilityError(
                f"site '{site}' of {name} is {declared.words}, but it is drawn from "
                f"{type(distribution).__name__}, with values such as "
                f"{float(value.flatten()[0]):.3g}"
            )
        learned.append(_carries_gradients(distribution, value))
        return value

    _check_encoded(program, batch)
    particles = Particles(program, batch, 1)
    particles.step(draw, torch.tensor(0, device=batch.x.device))
    _refuse_undeclared(program, particles)
    if missing := [site for site in sites if site not in drawn]:
        raise CompatibilityError(f"{name} declares {', '.join(missing)} but does not draw it")
    certain = isinstance(program, StepGuide) and program.traits.codebook  # has another gradient
    weights = any(parameter.requires_grad for parameter in program.parameters())
    if weights and not certain and not any(learned):
        raise CompatibilityError(f"{name} gives distributions {WITHOUT_GRADIENTS}")


def _refuse_undeclared(program: StepModel | StepGuide, particles: Particles) -> None:
    """Refuse states that a program carries without declaring them."""
    if undeclared := sorted(particles.past.states.keys() - set(program.states)):
        raise CompatibilityError(
            f"{type(program).__name__} carries the state {', '.join(undeclared)}, which it must "
            f"declare: set self.states = ({', '.join(map(repr, undeclared))},) in its constructor"
        )


def _carries_gradients(distribution: TorchDistribution, value: Tensor) -> bool:
    """Whether the log-probability of a value depends on weights."""
    return distribution.log_prob(value).requires_grad


def _check_distribution(name: str, site: str, distribution: object, dim: int) -> None:
    """Refuse what is no distribution of a frame of numbers."""
    if not isinstance(distribution, torch.distributions.Distribution):
        raise CompatibilityError(
            f"{name} draws '{site}' from {in_words(distribution)}; give a distribution, such as "
            "pyrodgm.distributions.BernoulliVector(logits)"
        )
    if distribution.event_shape != (dim,):
        raise CompatibilityError(
            f"{name} draws '{site}' with batch shape {tuple(distribution.batch_shape)} and "
            f"event shape {tuple(distribution.event_shape)}; the event must be a frame of "
            f"{dim} numbers: see .to_event(1), and the size in the constructor"
        )


def _check_support(name: str, distribution: TorchDistribution, x: Tensor, data: str) -> None:
    """Refuse values outside [0, 1] under distributions of bits, which would score them silently."""
    support = getattr(distribution.support, "base_constraint", distribution.support)
    if support not in (constraints.boolean, constraints.unit_interval):
        return
    fits = (x >= 0) & (x <= 1)
    if not bool(fits.all()):
        raise DataError(
            f"{name} scores 'x' by {type(distribution).__name__}, but '{data}' has values outside "
            f"its support, from {between(float(x.min()), float(x.max()))}; choose another emission"
        )


def _is_of_kind(site: Site, value: Tensor) -> bool:
    """Whether all values are of the kind declared for their site."""
    bits = bool(((value == 0) | (value == 1)).all())
    if site.kind == "binary":
        return bits
    if site.classes:
        return bits and bool((value.unflatten(-1, (-1, site.classes)).sum(-1) == 1).all())
    return site.kind == "continuous" or bool(((value >= 0) & (value == value.round())).all())


def _check_pathwise(name: str, site: str, distribution: TorchDistribution) -> None:
    """Refuse draws that carry gradients if the traits do not declare it."""
    if distribution.has_rsample:
        raise CompatibilityError(
            f"{name} draws '{site}' from {type(distribution).__name__}, whose draws carry "
            "gradients, but its traits do not declare it: set reparameterised=True; otherwise "
            "score-function gradients with much more variance would be used"
        )


def _check_encoded(program: StepModel | StepGuide, batch: Batch) -> None:
    """Check the shape of features, and that those of a model are not of its observations."""
    name, encoded = type(program).__name__, program.encode(batch)
    if encoded is not None and (encoded.dim() < 3 or encoded.shape[:2] != batch.mask.shape):
        raise CompatibilityError(
            f"{name}.encode gives shape {tuple(encoded.shape)} for {batch.size} sequences of "
            f"{batch.length} frames; expected ({batch.size}, {batch.length}, any)"
        )
    if encoded is not None and isinstance(program, StepModel):
        _refuse_reading(
            f"{name}.encode(batch)", lambda given: cast("Tensor", program.encode(given)), batch
        )


def _check_repeatable(guide: StepGuide, batch: Batch) -> None:
    """Raise where the step of a guide gives other distributions when its draws are scored.

    Draws are scored by another run of the step: with units dropped at random in it, or normalised
    over a batch, weights would be of other distributions than those that were drawn from.

    Raises:
        CompatibilityError: it does.
    """
    particles = Particles(guide, batch, 1)
    values: dict[str, list[Tensor]] = {site: [] for site in guide.latents}
    nats: dict[str, list[Tensor]] = {site: [] for site in guide.latents}

    def draw(site: str, distribution: TorchDistribution) -> Tensor:
        value = distribution.expand((1, batch.size)).sample()
        values[site].append(value)
        nats[site].append(distribution.log_prob(value).expand(1, -1))
        return value

    with torch.no_grad():
        for t in range(batch.length):
            particles.step(draw, torch.tensor(t, device=batch.x.device))
            particles.push({site: path[-1] for site, path in values.items()})
        paths = {site: torch.stack(path, 2) for site, path in values.items()}
        again = factors(guide, batch, paths, encoded=particles.encoded)
    for site, each in nats.items():
        before, now = torch.stack(each, -1), again[site].log_prob
        compared = before.isfinite() & now.isfinite() & batch.mask
        if not torch.allclose(before[compared], now[compared], rtol=TOLERANCE, atol=TOLERANCE):
            raise CompatibilityError(
                f"{type(guide).__name__}.step gives other distributions of '{site}' when it runs "
                "on the same draws again; it must depend on its arguments alone: put dropout and "
                "normalisation over the batch into encode, and states into past.carry"
            )


def _check_potential(model: EnergyModel, batch: Batch) -> None:
    """Check the potential, and a sweep of draws where the model writes its own."""
    method = f"{type(model).__name__}.potential(x, batch)"
    of = "a number of nats for every frame of observations"
    for x, shape in ((batch.x, batch.mask.shape), (batch.x[None], (1, *batch.mask.shape))):
        found = model.potential(x, batch)
        _refuse_unless_tensor(method, found, shape, f"{of} {tuple(x.shape)}")
    if not isinstance(model, FrameEnergyModel):  # whose frames follow those before them
        _refuse_reading(method, lambda given: model.potential(batch.x, given), batch)
        if not model.of_sequences:
            _refuse_coupled(method, model, batch)
    own = type(model).gibbs is not EnergyModel.gibbs
    if own and model.traits.chains and model.chain == "gibbs":
        _check_sweep(model, batch)


def _refuse_coupled(method: str, model: EnergyModel, batch: Batch) -> None:
    """Raise where the potential of a frame changes with another frame."""
    before, frames = model.potential(batch.x, batch), batch.x[batch.mask]
    for changed in (0, batch.length - 1):
        x = batch.x.clone()
        x[:, changed] = frames[torch.cdist(x[:, changed], frames).argmax(-1)]  # another one
        others = batch.mask & (torch.arange(batch.length, device=x.device) != changed)
        now = model.potential(x, batch)
        if not torch.allclose(before[others], now[others], rtol=1e-4, atol=1e-4):
            raise CompatibilityError(
                f"{method} of a frame depends on other frames, and each is taken for independent; "
                "give the potential of the whole sequence at its first frame and set of_sequences "
                "= True, or derive the model from FrameEnergyModel"
            )


def _check_sweep(model: EnergyModel, batch: Batch) -> None:
    """Check that a sweep draws observations, and leaves those that it is given as they are."""
    method = f"{type(model).__name__}.gibbs(x, batch)"
    given = batch.x.clone()
    drawn = model.gibbs(given, batch)
    _refuse_unless_tensor(method, drawn, batch.x.shape, "a draw of every number")
    if not given.equal(batch.x):
        raise CompatibilityError(
            f"{method} changes the observations that it is given; change a copy, x.clone()"
        )
    if model.info.kind == "binary" and not bool(((drawn == 0) | (drawn == 1)).all()):
        raise CompatibilityError(
            f"{method} gives values such as {_other_than_bits(drawn):.3g}, but the data has bits; "
            "draw them, as probabilities.bernoulli() does"
        )


def _refuse_reading(method: str, function: Callable[[Batch], Tensor], batch: Batch) -> None:
    """Raise where a function depends on the observations of its batch, which are not its own."""
    found: list[Tensor] = []
    for given in (batch, replace(batch, x=batch.x.flip(0))):
        with forked(0, "trial"), torch.no_grad():
            found.append(function(given))
    if not found[0].equal(found[1]):
        raise CompatibilityError(
            f"{method} depends on batch.x, the observations of the batch, which it must not use"
        )


def _other_than_bits(values: Tensor) -> float:
    return float(values[(values != 0) & (values != 1)][0])


def _check_generated(program: Generator | ImplicitGuide, batch: Batch) -> None:
    """Check the values that a program computes from noise, and that they depend on its weights."""
    method = f"{type(program).__name__}.generate(noise, batch)"
    found: Any = program.generate(program.noise(batch), batch)
    if isinstance(program, Generator):
        values, wanted = {"x": found}, program.observed
    else:
        wanted = sizes(program.latents)
        if not isinstance(found, Mapping) or found.keys() != wanted.keys():
            names = ", ".join(f"'{name}': ..." for name in wanted)
            raise CompatibilityError(
                f"{method} gives {in_words(found)}; give a dictionary from the name of every "
                f"latent site to its values, {{{names}}}"
            )
        values = dict(found)
    for name, dim in wanted.items():
        shape = (1, *batch.mask.shape, dim)
        what = f"{method}, site '{name}',"
        _refuse_unless_tensor(what, values[name], shape, "a draw of every frame")
    if isinstance(program, Generator):
        noise = program.noise(batch)
        _refuse_reading(method, lambda given: program.generate(noise, given), batch)
    weights = any(parameter.requires_grad for parameter in program.parameters())
    if weights and not any(value.requires_grad for value in values.values()):
        raise CompatibilityError(f"{method} gives values {WITHOUT_GRADIENTS}")


def _refuse_unless_tensor(what: str, found: object, shape: tuple[int, ...], of: str) -> None:
    if not isinstance(found, Tensor) or found.shape != shape:
        raise CompatibilityError(f"{what} gives {in_words(found)}; expected {tuple(shape)}, {of}")
