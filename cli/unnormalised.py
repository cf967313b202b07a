"""Log-likelihoods of models with an unnormalised density, for `pyrodgm evaluate`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from pyrodgm.runs.run import Run


def show_energy(run: Run, split: str, as_json: bool, **options: Any) -> None:
    """Print the log-likelihood of a model with an unnormalised density."""
    from pyrodgm.runs.likelihood_tables import likelihood_table

    from .progress import showing_progress
    from .text import print_json, print_table

    with showing_progress(quiet=as_json) as progress:
        found = run.energy_likelihood(split, progress=partial(progress, "annealing"), **options)
    trivial, plane = run.trivial_bounds(split), run.landscape()
    if as_json:
        beside = {name: each.to_dict() for name, each in trivial.items()}
        values = {"split": split, **found.to_dict(), "floors": beside}
        values |= {} if plane is None else plane.to_dict()
        print_json({**values, "chosen_by": run.chosen_by})
        return
    upper = f"{type(run.model).__name__}, upper bound by annealing"
    beside = None if found.exact else {upper: {split: found.upper}}
    own, others = {split: found.lower}, {split: trivial}
    print_table(likelihood_table(run.model, own, others, beside=beside, per_sequence=True))
    click.echo(f"\n{found.text()}")
    if plane is not None and plane.text():
        click.echo(plane.text())


def show_field(run: Run, split: str, as_json: bool, **options: Any) -> None:
    """Print the log-likelihood of a random field, by draws of its noise."""
    from pyrodgm.runs.likelihood_tables import likelihood_table

    from .progress import showing_progress
    from .text import print_json, print_table

    with showing_progress(quiet=as_json) as progress:
        found = run.field_likelihood(split, progress=partial(progress, "noise"), **options)
    trivial = run.trivial_bounds(split)
    if as_json:
        beside = {name: each.to_dict() for name, each in trivial.items()}
        values = {"split": split, **found.to_dict(), "floors": beside}
        print_json({**values, "chosen_by": run.chosen_by})
        return
    name = type(run.model).__name__
    bound = "" if found.noise.estimator == "exact" else ", lower bound"
    others = {f"noise alone, {type(run.guide).__name__}{bound}": {split: found.noise}}
    if not found.exact:
        others[f"{name}, upper bound by {found.draws} draws of the noise"] = {split: found.upper}
    own = {split: found.lower}
    table = likelihood_table(run.model, own, {split: trivial}, beside=others, per_sequence=True)
    print_table(table)
    click.echo(f"\n{found.text()}")
