"""`pyrodgm predict`: one-step prediction, forecasts, imputation and hidden states."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from pyrodgm.evaluate.prediction.forecast import Forecast, Start
    from pyrodgm.runs.run import Run


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data", help="Other data (a single array is enough), or the new place of the run's data."
)
@click.option("--split", help="train, valid or test [default: test, or the only array].")
@click.option("--samples", type=int, help="Draws [default: 20; 100 for forecasts and imputation].")
@click.option("--horizon", type=int, help="Forecast this number of frames instead of one.")
@click.option(
    "--from",
    "start",
    callback=lambda _context, _option, text: _start(text),
    help="Observed frames before the forecast, or 'end' for all [default: all but the last ones].",
)
@click.option(
    "--conditions", help="File with conditions of frames after the end, if the model takes any."
)
@click.option("--impute", is_flag=True, help="Fill in missing values instead.")
@click.option("--truth", help="The same data without missing values, to score --impute.")
@click.option("--states", is_flag=True, help="Find the hidden states of an hmm instead.")
@click.option(
    "--quantiles",
    callback=lambda _context, _option, text: None if text is None else _levels(text),
    help="Quantile levels of a forecast or imputation [default: 0.1,0.5,0.9].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File of a forecast (.npz, .png, .gif, .mid), imputation (.npz, .png) or states (.csv).",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    run: Path,
    data: str | None,
    horizon: int | None,
    start: Start,
    impute: bool,
    truth: str | None,
    states: bool,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict every frame from those before it, beside trivial predictors of the same data.

    With --horizon, forecast many frames; with --impute, fill in missing features; with --states,
    find the hidden states of an hmm, by the Viterbi algorithm and by smoothing.
    """
    if states:
        _check_alone(horizon, start, impute, options)
    if truth is not None and not impute:
        raise click.UsageError("--truth goes with --impute")
    _check_words(horizon, start, impute, None if states else out, options["quantiles"])
    from pyrodgm.runs.run import Run

    from .states import show_states

    loaded = Run.load(run, data)
    if out is not None:
        loaded.data.refuse_to_replace(out, data, truth, options["conditions"])
    _, split = loaded.data.choose(options["split"])
    given = {**_given(horizon, options), "split": split}
    if states:
        values = show_states(loaded, split, out, as_json)
    elif horizon is not None:
        values = _forecast(loaded, out, as_json, horizon=horizon, start=start, **given)
    elif impute and out is not None:
        values = _impute(loaded, out, truth, as_json, **given)
    else:
        values = _predict(loaded, as_json, **given)
    if as_json:
        from .text import print_json

        print_json({"split": split, **values})


def _check_alone(horizon: int | None, start: Start, impute: bool, options: dict[str, Any]) -> None:
    given = {"--horizon": horizon, "--from": start, "--impute": impute or None}
    given |= {f"--{name}": options[name] for name in ("samples", "quantiles", "conditions")}
    if others := [name for name, value in given.items() if value is not None]:
        raise click.UsageError(f"--states is exact and takes no {', '.join(others)}")


def _check_words(
    horizon: int | None,
    start: Start,
    impute: bool,
    out: Path | None,
    quantiles: tuple[float, ...] | None,
) -> None:
    if impute and horizon is not None:
        raise click.UsageError("--impute and --horizon exclude each other; give one of them")
    if impute and out is None:
        raise click.UsageError("--impute needs --out FILE.npz for the filled data")
    if horizon is None and start is not None:
        raise click.UsageError("--from goes with --horizon")
    if horizon is None and not impute and out is not None:
        raise click.UsageError("--out goes with --horizon or --impute")
    if horizon is None and not impute and quantiles is not None:
        raise click.UsageError("--quantiles goes with --horizon or --impute")


def _given(horizon: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given; conditions are read."""
    from pyrodgm.data.ahead import read_conditions

    given = {name: value for name, value in options.items() if value is not None}
    if "conditions" in given:
        if horizon is None:
            raise click.UsageError("--conditions goes with --horizon")
        given["conditions"] = read_conditions(Path(given["conditions"]))
    return given


def _start(text: str | None) -> Start:
    if text is None or text == "end":
        return text
    try:
        return int(text)
    except ValueError:
        message = f"--from is '{text}'; give a number of frames, or end"
        raise click.UsageError(message) from None


def _levels(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        message = f"--quantiles is '{text}'; give numbers separated by commas, as in 0.1,0.5,0.9"
        raise click.UsageError(message) from None


def _predict(run: Run, as_json: bool, **options: Any) -> dict[str, Any]:
    """Predict one frame ahead and print the errors of every method."""
    from pyrodgm.runs.tables import prediction_table

    from .progress import showing_progress
    from .text import print_table

    with showing_progress(quiet=as_json) as progress:
        found = run.predict(progress=progress, **options)
    if not as_json:
        data, split = run.data.choose(options["split"])
        print_table(prediction_table(run.model, found, data.info, split))
    return {"predictions": {name: prediction.to_dict() for name, prediction in found.items()}}


def _forecast(run: Run, out: Path | None, as_json: bool, **options: Any) -> dict[str, Any]:
    """Forecast many frames; print errors by number of frames ahead, and write a file."""
    from pyrodgm.figures.prediction_files import check_ending, save_forecast
    from pyrodgm.figures.samples_file import fitting

    info, sequences = run.splits.info, run.splits[options["split"]]
    if out is not None:
        check_ending(out, fitting(info))
    found = run.forecast(**options)
    paths = [] if out is None else save_forecast(found, sequences, info, out)
    if not as_json:
        click.echo(f"{options['split']}: {len(found.rows)} sequences\n")
        _print_horizons(found)
        _print_paths(paths)
    return {"horizon": found.by_horizon(), "files": [str(path) for path in paths]}


def _print_horizons(found: Forecast) -> None:
    """Print errors by number of frames ahead."""
    from pyrodgm.runs.tables import horizon_table

    from .text import print_table

    table = horizon_table(found)
    if table.rows:
        print_table(table)
    else:
        click.echo("the true frames are not known, so there are no errors to show")


def _impute(
    run: Run, out: Path, truth: str | None, as_json: bool, **options: Any
) -> dict[str, Any]:
    """Impute missing values into a file, and print errors if the truth is given."""
    from pyrodgm.evaluate.prediction.imputation_scores import imputation_scores
    from pyrodgm.figures.prediction_files import (
        check_ending,
        imputation_endings,
        save_imputation,
    )
    from pyrodgm.runs.tables import imputation_table

    from .text import print_table

    check_ending(out, imputation_endings(run.splits.info))
    split = options["split"]
    known = None if truth is None else run.data.truth(truth, split)
    found = run.impute(**options)
    scores = (
        None
        if known is None
        else imputation_scores(found, run.splits[split], known, run.splits.info)
    )
    paths = save_imputation(found, out, run.splits.info)
    if not as_json:
        values = f"{found.missing} of {found.seen.size} values"
        click.echo(f"{split}: filled in {values}")
        if scores is not None:
            click.echo()
            print_table(imputation_table(scores))
        _print_paths(paths)
    files = [str(path) for path in paths]
    values = {"missing": found.missing, "values": int(found.seen.size), "files": files}
    return values if scores is None else {**values, "scores": scores.to_dict()}


def _print_paths(paths: list[Path]) -> None:
    for path in paths:
        click.echo(path)
