"""`pyrodgm evaluate`: a bound on the log-likelihood of a split."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    import pandas as pd

    from pyrodgm.evaluate.likelihood.bounds import Estimator
    from pyrodgm.runs.run import Run


SEVERAL = 100  # draws of a bound that is for several


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data", help="Other data (a single array is enough), or the new place of the run's data."
)
@click.option("--split", help="train, valid or test [default: test, or the only array].")
@click.option(
    "--particles",
    type=int,
    help="Draws per sequence, K [default: 1; 100 with --estimator iwae or fivo]; for importance: "
    "draws for each normaliser [default: 20,000 in all, at least 100].",
)
@click.option(
    "--estimator",
    type=click.Choice(
        ["auto", "elbo", "iwae", "fivo", "exact", "quadrature", "ais", "importance", "samples"]
    ),
    default="auto",
    show_default=True,
    help="auto: exact without latents, else elbo for one particle and iwae for more; quadrature "
    "(for rows with one or two continuous latents) if the guide has no density; for energy models, "
    "exact if the normaliser can be enumerated and ais otherwise, or importance for fields over "
    "sequences; importance estimates the normaliser of an energy model by draws of its guide; ais "
    "for models with latents anneals the latents of some sequences; samples compares draws of rows "
    "with data.",
)
@click.option(
    "--chains",
    type=int,
    help="For ais: chains of every sequence [default: 16], or in each direction for energy models "
    "[default: 100; 4 for every frame of trbm and rtrbm].",
)
@click.option(
    "--temperatures",
    type=int,
    help="For ais: steps of a chain [default: 500; 1000 for energy models, 500 for "
    "trbm and rtrbm].",
)
@click.option(
    "--start",
    type=click.Choice(["prior", "guide"]),
    help="For ais of latents: where chains start [default: prior].",
)
@click.option(
    "--sequences",
    type=int,
    help="For ais of latents: sequences used, spread evenly over the split [default: 100].",
)
@click.option(
    "--simulated",
    type=int,
    help="For ais of latents: simulated sequences, whose log-likelihood is bracketed "
    "[default: 20].",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
@click.option(
    "--per-sequence",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV file for the bound of every sequence.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    run: Path,
    data: str | None,
    split: str | None,
    particles: int | None,
    estimator: Estimator,
    seed: int,
    per_sequence: Path | None,
    as_json: bool,
    **annealing: Any,
) -> None:
    """Bound the log-likelihood of a split, beside trivial predictors of the same data.

    With K particles the bound is importance-weighted: it increases with K to the log-likelihood,
    and faster on long sequences with --estimator fivo, a particle filter. If tokens are held out,
    as in stu, their prediction is shown too. For models without a density, the validation score of
    their objective is shown instead. For models with an unnormalised density, such as rbm, the
    log-likelihood is exact if the normaliser can be enumerated; otherwise annealed importance
    sampling gives a lower and an upper bound, from chains in both directions. For models with
    latents --estimator ais gives a lower bound that hardly depends on the guide, on some sequences,
    and brackets the log-likelihood of sequences simulated from the model. By quadrature there are
    also the evidence lower bound, the reconstruction error, how far the latents of all rows
    together, q(z), are from the prior, and how far the estimate of an adversarial objective is from
    the log-likelihood. With --estimator samples, and for models of rows without a density, draws
    are compared with the data: by a kernel test, by the modes of the data if they are known, and by
    a classifier of its labels.
    """
    from pyrodgm.runs.run import Run

    loaded = Run.load(run, data)
    _, split = loaded.data.choose(split)
    draws = particles
    if particles is None:
        particles = SEVERAL if estimator in ("iwae", "fivo") else 1
    given: dict[str, Any] = {"particles": particles, "estimator": estimator, "seed": seed}
    of_ais = {name: value for name, value in annealing.items() if value is not None}
    _refuse_unless_used(loaded, estimator, of_ais)
    if estimator == "samples":
        _show_samples(loaded, split, seed, as_json, particles, per_sequence)
        return
    if per_sequence is not None:
        loaded.data.refuse_to_replace(per_sequence, data)
    if estimator == "ais" and loaded.model.traits.density != "unnormalised":
        _show_annealed(loaded, split, as_json, per_sequence, **given, **of_ais)
        return
    if per_sequence is not None:
        _write(loaded.scores(split, **given), per_sequence)
    _show_likelihood(loaded, split, as_json, draws, **given, **of_ais)


def _show_likelihood(
    run: Run,
    split: str,
    as_json: bool,
    draws: int | None,
    *,
    particles: int,
    estimator: Estimator,
    seed: int,
    **of_ais: Any,
) -> None:
    """Print the log-likelihood or bounds on it, as far as the model has them."""
    from pyrodgm.evaluate.likelihood.importance import uses_noise
    from pyrodgm.evaluate.likelihood.weights import has_bound

    from .unnormalised import show_energy, show_field

    if uses_noise(run.model, estimator):
        show_field(run, split, as_json, draws=draws, estimator=estimator, seed=seed)
    elif run.model.traits.density == "unnormalised" and particles == 1:
        show_energy(run, split, as_json, estimator=estimator, seed=seed, **of_ais)
    elif not has_bound(run.model, run.guide) and (particles, estimator) == (1, "auto"):
        _show_validation(run, split, seed, as_json)
    else:
        given: dict[str, Any] = {"particles": particles, "estimator": estimator, "seed": seed}
        _show_bound(run, split, as_json, draws, **given)


def _refuse_unless_used(run: Run, estimator: str, of_ais: dict[str, Any]) -> None:
    """Refuse options of annealing that this model or estimator does not use."""
    from pyrodgm.evaluate.likelihood.importance import uses_noise
    from pyrodgm.evaluate.likelihood.normaliser import enumerates
    from pyrodgm.models import EnergyModel

    used: set[str]
    if uses_noise(run.model, estimator):
        used = set()
        why = "log Z is estimated by draws of the guide, whose number is --particles"
    elif isinstance(run.model, EnergyModel) and enumerates(run.model, estimator):
        used = set()
        why = "log Z is exact, and nothing is annealed unless --estimator is ais"
    elif run.model.traits.density == "unnormalised":
        used = {"chains", "temperatures"}
        why = f"{type(run.model).__name__} has no latents to anneal"
    else:
        used = set(of_ais) if estimator == "ais" else set()
        why = "this option is for --estimator ais"
    if unused := sorted(of_ais.keys() - used):
        raise click.UsageError(f"{', '.join(f'--{name}' for name in unused)}: {why}")


def _show_bound(
    run: Run, split: str, as_json: bool, draws: int | None, *, seed: int, **given: Any
) -> None:
    """Print a bound, and the prediction of held-out tokens if there are any."""
    from pyrodgm.evaluate.likelihood.bound import LIKELIHOODS
    from pyrodgm.evaluate.likelihood.parts import excess
    from pyrodgm.evaluate.likelihood.validation import ADVERSARIAL_ESTIMATE
    from pyrodgm.runs.likelihood_tables import likelihood_table, parts_table
    from pyrodgm.runs.tables import word_table

    from .text import print_json, print_table

    bound = run.evaluate(split, seed=seed, **given)
    if draws is not None and bound.estimator in LIKELIHOODS:
        click.echo("note: --particles is not used: the log-likelihood needs no draws", err=True)
    trivial = run.trivial_bounds(split)
    words = run.word_scores(split, seed=seed)
    parts = run.parts(split, seed=seed) if bound.estimator == "quadrature" else None
    estimate = run.adversarial_estimate(split, seed=seed) if parts else None
    over = None if estimate is None else excess(estimate, bound.nats_per_frame)
    if as_json:
        beside = {name: each.to_dict() for name, each in trivial.items()}
        values = {"split": split, **bound.to_dict(), "floors": beside}
        values["chosen_by"] = run.chosen_by
        if parts:
            values |= parts.to_dict()
        if estimate is not None:
            values |= {ADVERSARIAL_ESTIMATE: estimate, "adversarial_excess_nats_per_frame": over}
        if words:
            values["held_out"] = {name: score.to_dict() for name, score in words.items()}
        print_json(values)
        return
    print_table(likelihood_table(run.model, {split: bound}, {split: trivial}, per_sequence=True))
    if parts:
        click.echo()
        print_table(parts_table(parts, estimate, over))
    if words:
        click.echo()
        print_table(word_table(words))


def _write(scores: pd.DataFrame, path: Path) -> None:
    """Write the bound of every sequence as CSV."""
    from pyrodgm.storage.files import replacing

    with replacing(path) as unfinished:
        scores.to_csv(unfinished, index=False)


def _show_annealed(
    run: Run,
    split: str,
    as_json: bool,
    per_sequence: Path | None,
    *,
    particles: int,
    estimator: str,
    **options: Any,
) -> None:
    """Print a bound by annealing the latents, and the bracket on simulated sequences."""
    from pyrodgm.evaluate.likelihood.ais import Chains
    from pyrodgm.evaluate.likelihood.bound import scores_table
    from pyrodgm.runs.likelihood_tables import likelihood_table

    from .progress import showing_progress
    from .text import print_json, print_table

    if particles != 1:
        raise click.UsageError(
            f"--particles {particles}: ais has no particles; its accuracy depends on --chains and "
            "--temperatures"
        )
    names = options.keys() & {"chains", "temperatures", "start"}
    options["chains"] = Chains(**{name: options.pop(name) for name in names})
    with showing_progress(quiet=as_json) as progress:
        found, bound, rows = run.annealed(split, progress=partial(progress, "annealing"), **options)
    trivial = run.trivial_bounds(split, rows=rows)
    if per_sequence is not None:
        lengths = run.sequences(split).lengths[rows]
        _write(scores_table(found.nats, lengths, estimator, rows=rows), per_sequence)
    if as_json:
        beside = {name: each.to_dict() for name, each in trivial.items()}
        values = {"split": split, **bound.to_dict(), "floors": beside}
        print_json({**values, "chosen_by": run.chosen_by, "annealing": found.to_dict()})
        return
    print_table(likelihood_table(run.model, {split: bound}, {split: trivial}, per_sequence=True))
    click.echo(f"\n{found.text()}")


def _show_validation(run: Run, split: str, seed: int, as_json: bool) -> None:
    """Print the objective's own measures, if there is no bound, and draws beside data."""
    from pyrodgm.evaluate.samples.quality import why_not
    from pyrodgm.runs.sample_table import quality_table
    from pyrodgm.runs.tables import objective_table

    from .text import print_json, print_table

    found = run.validation(split, seed=seed)
    refused = why_not(run.model, run.info, run.sequences(split))
    quality = None if refused else run.sample_quality(split, seed=seed)
    if as_json:
        beside = {} if quality is None else {"samples": quality.to_dict()}
        print_json({"split": split, "chosen_by": run.chosen_by, **found.numbers, **beside})
        return
    print_table(objective_table(run.model, {split: found.numbers}, run.chosen_by))
    click.echo()
    if quality is None:
        click.echo(f"{refused[0].upper()}{refused[1:]}.")
    else:
        print_table(quality_table(quality))


def _show_samples(
    run: Run, split: str, seed: int, as_json: bool, particles: int, per_sequence: Path | None
) -> None:
    """Print how similar draws from the model are to data."""
    from pyrodgm.runs.sample_table import quality_table

    from .text import print_json, print_table

    if particles != 1 or per_sequence is not None:
        raise click.UsageError("--particles and --per-sequence are for bounds, not for samples")
    found = run.sample_quality(split, seed=seed)
    if as_json:
        print_json({"split": split, "chosen_by": run.chosen_by, "samples": found.to_dict()})
        return
    print_table(quality_table(found))
