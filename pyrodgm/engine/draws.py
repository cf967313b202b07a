"""The verbs `draw`, `score` and `simulate`: values of a program's sites, and their densities.

A sequence program is run by its step alone. A program of noise has values and no densities. Any
other Pyro program is traced under a plate of draws at dimension -3, and its sites must have batch
shape (B, T).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import partial
from pyrodgm.engine.auxiliary import extended
from pyrodgm.engine.factors import Draws, Factor, Factors, num_draws, refuse_other_sites
from pyrodgm.engine.implicit import NOISE, NoiseProgram
from pyrodgm.engine.rollout import Rollout, Surrogate
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.engine.traced import Program, conditioned, traced
from pyrodgm.errors import CompatibilityError
from pyrodgm.turns import PROCESS


def draw(
    program: Program,
    batch: Batch,
    particles: int = 1,
    *,
    pathwise: bool = True,
    noise: Mapping[str, Tensor] | None = None,
    keep_noise: bool = False,
    surrogate: Surrogate | None = None,
) -> Draws:
    r"""Draw the latent sites of a program K times on a batch.

    Draws of bits and symbols carry no gradient, unless there is a `surrogate`: a function from a
    site's distribution to the one that it is drawn from instead, in every frame, with

    - ``noise(shape)``: noise of all frames, (T, ..., D);
    - ``from_noise(noise)``: the value of a frame (..., D) at its noise, with a gradient.

    Later frames and sites are computed from these values, so that gradients flow through the whole
    path. `pyrodgm.distributions.StraightThroughBits` and `ReinMaxBits` keep the values of bits and
    give them a gradient; a relaxation gives other values. Log-probabilities are those of the site's
    own distribution at the values.

    Args:
        program: a guide, or a model whose latents are drawn given the batch's observations.
        batch: B sequences of T frames.
        particles: number of draws K.
        pathwise: whether gradients flow through draws that can carry them.
        noise: what draws are made from, (K, B, T, D), by site, such as the noise of other draws;
            the rest is drawn. A program of noise has a single one, "noise".
        keep_noise: whether the noise that is drawn is kept; it takes as much memory as the draws.
        surrogate: gives what latent sites without path gradients are drawn from.

    Raises:
        CompatibilityError: noise for a site that cannot be drawn from given noise, or a surrogate
            for a program that is not a sequence program.
    """
    with PROCESS.taken():
        if isinstance(program, SequenceProgram):
            known = dict.fromkeys(program.observed, batch.x)
            rollout = Rollout.over(program, batch, known, particles)
            return _rolled(
                rollout,
                batch,
                pathwise=pathwise,
                noise=noise or {},
                keep_noise=keep_noise,
                surrogate=surrogate,
            )
        if surrogate is not None:
            raise CompatibilityError(
                f"{_name(program)} is not a sequence program, and gradients of its draws cannot be "
                "replaced; derive it from pyrodgm.guides.StepGuide, or take a score gradient, such "
                "as rloo"
            )
        if isinstance(program, NoiseProgram):
            return _of_noise(program, batch, particles, pathwise=pathwise, noise=noise or {})
        if noise:
            raise CompatibilityError(
                f"{_name(program)} is not a sequence program, and its draws of "
                f"{', '.join(noise)} cannot be made from given noise"
            )
        return traced(program, batch, particles, pathwise=pathwise)


def score(
    program: Program,
    batch: Batch,
    values: Mapping[str, Tensor],
    *,
    states: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Log-probabilities of given values of a program's sites, (K, B, T) each, in nats.

    Gradients flow to the program's parameters and to the values that carry any.

    Args:
        program: a model or a guide.
        batch: B sequences of T frames, whose observations are scored too.
        values: of every latent site, (K, B, T, D).
        states: deterministic states along these values, (K, B, T, S), such as those of `Draws`;
            the recurrence of a state that is given does not run.

    Raises:
        CompatibilityError: a latent site has no value, or a value is of no latent site.
    """
    found = factors(program, batch, values, states=states)
    return {name: factor.log_prob for name, factor in found.items()}


def factors(
    program: Program,
    batch: Batch,
    values: Mapping[str, Tensor],
    *,
    states: Mapping[str, Tensor] | None = None,
    encoded: Tensor | None = None,
) -> Factors:
    """The factor of every site at given values; see `score`.

    With the features of `Draws`, which are used again, the distributions are those that its values
    were drawn from, although a program drops units at random.
    """
    with PROCESS.taken():
        if isinstance(program, NoiseProgram):
            return _without_density(program)
        if not isinstance(program, SequenceProgram):
            return conditioned(program, batch, values)
        refuse_other_sites(set(program.latents), set(values))
        known = {**values, **dict.fromkeys(program.observed, batch.x)}
        rollout = Rollout.over(program, batch, known, num_draws(values), states, encoded)
        return _factors_of(rollout, batch)


def simulate(
    model: SequenceProgram | NoiseProgram,
    batch: Batch,
    particles: int = 1,
    *,
    given: Mapping[str, Tensor] = MappingProxyType({}),
    pathwise: bool = False,
    surrogate: Surrogate | None = None,
) -> Draws:
    """Draw latents and observations together, in the shape of a batch, K times.

    Args:
        model: a sequence model, or one of noise, whose latents are the first numbers of it; it is
            given the batch's conditions, mask and lengths, and none of its observations.
        batch: B sequences of T frames.
        particles: number of draws K.
        given: values of all latent sites, (K, B, T, J), so that only observations are drawn.
        pathwise: whether gradients flow through draws that can carry them.
        surrogate: gives what sites of a sequence model without path gradients are drawn from,
            observations among them; see `draw`.
    """
    with PROCESS.taken():
        if isinstance(model, NoiseProgram):
            noise = model.noise(batch, particles)
            latents = [*given.values()]
            rest = noise[..., sum(z.shape[-1] for z in latents) :]
            noise = {NOISE: torch.cat([*latents, rest], -1)}
            found = _of_noise(model, batch, particles, pathwise=pathwise, noise=noise)
            drawn = {name: v for name, v in found.values.items() if name not in given}
            return replace(found, values=drawn)
        whole = replace(batch, seen=None)
        # A single particle has no dimension of its own where frames are drawn, see `Sampler`.
        known = {name: z[0] if particles == 1 else z for name, z in given.items()}
        rollout = Rollout.over(model, whole, known, particles)
        return _rolled(rollout, whole, pathwise=pathwise, surrogate=surrogate)


def simulate_like(
    model: SequenceProgram, batch: Batch, particles: int = 1
) -> tuple[dict[str, Tensor], Batch]:
    """Draw latents, and observations that lack the features that a batch lacks, K times.

    In their place are the numbers that the batch has there, and later frames and sites depend on
    these, as where the model is scored on a batch with missing values.

    Args:
        model: a sequence model; it is given the batch's conditions, mask and lengths, and none of
            its observations.
        batch: B sequences of T frames.
        particles: number of draws K.

    Returns:
        Values of the latent sites, (K, B, T, J), and the observations as a batch of K B sequences,
        those of the first draw first.
    """
    with PROCESS.taken(), torch.no_grad():
        rollout = Rollout.over(model, batch, {}, particles)
        seen = {} if batch.seen is None else dict.fromkeys(model.observed, batch.seen)
        absent = {name: (known, batch.x) for name, known in seen.items()}
        values = rollout.draw(pathwise=False, absent=absent)
    (x,) = (values[name].flatten(0, 1) for name in model.observed)
    whole = batch.repeated(particles)
    x = x.where(whole.mask[..., None], 0.0)
    latents = {name: values[name] for name in model.latents}
    return latents, replace(whole, x=x)


def pair_factors(
    model: Program,
    guide: Program,
    batch: Batch,
    particles: int,
    *,
    pathwise: bool = True,
    surrogate: Surrogate | None = None,
) -> tuple[Factors, Factors]:
    """Every site of the model and of the guide, on K draws from the guide.

    Auxiliary sites of the guide are in both, see `pyrodgm.engine.auxiliary`. A deterministic state
    that both name is the same recurrence, and runs once.

    Args:
        model: the model p.
        guide: the guide q.
        batch: B sequences of T frames.
        particles: number of draws K.
        pathwise: whether gradients flow through draws that can carry them.
        surrogate: gives what the guide's other sites are drawn from, see `draw`.

    Raises:
        CompatibilityError: the two do not draw the same latent sites.
    """
    with PROCESS.taken():
        draws = draw(guide, batch, particles, pathwise=pathwise, surrogate=surrogate)
        proposed = {name: draws.factors[name] for name in draws.values}
        shared = getattr(model, "states", ())
        states = {name: value for name, value in draws.states.items() if name in shared}
        target = extended(model, guide)
        return factors(target, batch, draws.values, states=states), proposed


def _of_noise(
    program: NoiseProgram,
    batch: Batch,
    particles: int,
    *,
    pathwise: bool,
    noise: Mapping[str, Tensor],
) -> Draws:
    """Draws of a program of noise, which is always kept."""
    if other := sorted(noise.keys() - {NOISE}):
        raise CompatibilityError(
            f"{_name(program)} draws all its sites from one site '{NOISE}', and noise of "
            f"{', '.join(other)} is given"
        )
    made = noise[NOISE] if noise else program.noise(batch, particles)
    with torch.set_grad_enabled(pathwise and torch.is_grad_enabled()):
        values = program.values(made, batch)
    return Draws(values, {NOISE: made}, {}, lambda: _without_density(program))


def _without_density(program: NoiseProgram) -> Factors:
    """Nothing: the density of a function of noise is not known.

    Raises:
        CompatibilityError: always.
    """
    raise CompatibilityError(
        f"{_name(program)} computes its draws from noise, and their log-probability is not known; "
        "an objective with a critic estimates it"
    )


def _rolled(
    rollout: Rollout,
    batch: Batch,
    *,
    pathwise: bool,
    noise: Mapping[str, Tensor] | None = None,
    keep_noise: bool = False,
    surrogate: Surrogate | None = None,
) -> Draws:
    """Draws of a sequence program that has not been drawn yet."""
    drawn = rollout.draw(pathwise=pathwise, noise=noise, keep_noise=keep_noise, surrogate=surrogate)
    values = {name: drawn[name] for name in rollout.program.dims if name not in rollout.given}
    return Draws(
        values,
        rollout.sampler.noise,
        dict(rollout.states_along),
        lambda: _factors_of(rollout, batch, pathwise=pathwise, all_carry=surrogate is not None),
        rollout.encoded,
    )


def _factors_of(
    rollout: Rollout, batch: Batch, *, pathwise: bool = True, all_carry: bool = False
) -> Factors:
    """The sites of a sequence program on the paths that it has been carried over.

    Args:
        rollout: of the program.
        batch: B sequences.
        pathwise: whether gradients flow through draws that can carry them.
        all_carry: whether draws of all sites can.
    """
    program, found, zero = rollout.program, rollout.score(), batch.x.new_zeros(())
    result: Factors = {}
    for name in program.dims:
        seen = batch.seen if name in program.observed else None
        value, distribution = rollout.values[name], found[name]
        nats = torch.where(batch.mask, partial(distribution, seen).log_prob(value), zero)
        carries = pathwise and (all_carry or program.carries_gradients(name))
        result[name] = Factor(value, distribution, nats, nats, carries)
    return result


def _name(program: Program | NoiseProgram) -> str:
    return getattr(program, "__name__", type(program).__name__)
