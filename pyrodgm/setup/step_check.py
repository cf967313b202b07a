"""What the steps of a model or a guide give on a few frames, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.display import between, in_words
from pyrodgm.engine.draws import factors
from pyrodgm.engine.particles import Particles
from pyrodgm.engine.sites import Site
from pyrodgm.errors import CompatibilityError, DataError
from pyrodgm.guides import StepGuide
from pyrodgm.models import StepModel
from pyrodgm.seeds import forked

TOLERANCE = 0.01  # nats, and relative, by which two runs of a step may differ
RUNS = 10  # which give the same features, if these are not random
WITHOUT_GRADIENTS = (
    "without gradients to its weights, which would never learn; leave out detach() and "
    "torch.no_grad()"
)


def check_steps(program: StepModel | StepGuide, batch: Batch, data: str) -> None:
    """Raise unless the steps of a program draw its sites as its base class expects.

    Args:
        program: a model or a guide.
        batch: a few frames, B sequences of T frames.
        data: name of the data, for messages.

    Raises:
        CompatibilityError: they do not.
        DataError: they cannot score the data.
    """
    _check_frame(program, batch, data)
    if isinstance(program, StepGuide):
        _check_repeatable(program, batch)


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
    if encoded is None:
        return

    def features(given: Batch) -> Tensor:
        return cast("Tensor", program.encode(given))

    if isinstance(program, StepModel):
        refuse_reading(f"{name}.encode(batch)", features, batch)
    with _evaluating(program), torch.no_grad():
        _refuse_padding(name, features, batch)


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


def _refuse_padding(name: str, features: Callable[[Batch], Tensor], batch: Batch) -> None:
    """Raise where features of the frames of a sequence change with the padding after them.

    Features that are drawn at random differ between any two runs, and are not compared.
    """
    if batch.length < 2:
        return
    mask = batch.mask & (torch.arange(batch.length, device=batch.x.device) < batch.length - 1)
    shown = mask[..., None]
    padded = replace(
        batch,
        x=batch.x * shown,
        mask=mask,
        seen=None if batch.seen is None else batch.seen & shown,
        conditions=None if batch.conditions is None else batch.conditions * shown,
        host_lengths=None,
    )
    short = batch.first(batch.length - 1)
    alone, followed = features(short)[short.mask], features(padded)[mask]
    if torch.allclose(alone, followed, rtol=1e-3, atol=1e-4, equal_nan=True):
        return
    if all(alone.equal(features(short)[short.mask]) for _ in range(RUNS)):
        raise CompatibilityError(
            f"{name}.encode gives other features of a sequence when padding follows it, so that "
            "results would depend on the other sequences of a batch; pass from frame to frame "
            "only where batch.mask is True, and from the last frame to the first by "
            "pyrodgm.networks.backward.backward_outputs"
        )


@contextmanager
def _evaluating(program: nn.Module) -> Iterator[None]:
    """Without units dropped at random; the modes of all modules are restored."""
    modes = [(module, module.training) for module in program.modules()]
    program.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def refuse_reading(method: str, function: Callable[[Batch], Tensor], batch: Batch) -> None:
    """Raise where a function depends on the observations of its batch, which are not its own."""
    found: list[Tensor] = []
    for given in (batch, replace(batch, x=batch.x.flip(0))):
        with forked(0, "trial"), torch.no_grad():
            found.append(function(given))
    if not found[0].equal(found[1]):
        raise CompatibilityError(
            f"{method} depends on batch.x, the observations of the batch, which it must not use"
        )
