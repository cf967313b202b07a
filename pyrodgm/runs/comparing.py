"""Comparison of runs without a density, by the validation scores of their objectives."""

from __future__ import annotations

from collections.abc import Mapping

from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.runs.run import Run


def by_validation(
    runs: Mapping[str, Run], split: str = "test", *, seed: int = 0
) -> dict[str, Validation]:
    """Validation scores of runs on the same data, the best first.

    Args:
        runs: by name.
        split: name of the split.
        seed: of the draws.

    Raises:
        UsageError: the runs have different validation scores, or one has none.
    """
    found = {name: run.validation(split, seed=seed) for name, run in runs.items()}
    scores = {name: each.score for name, each in found.items() if each.score is not None}
    ways = {name: each.by for name, each in found.items()}
    if len({*ways.values()}) > 1 or len(scores) < len(found):
        chosen = "; ".join(f"{name}: {by}" for name, by in ways.items())
        raise UsageError(
            "these runs cannot be ranked: without a bound on the log-likelihood they need a "
            f"validation score in common, and their weights were chosen by: {chosen}; "
            "pyrodgm report shows each alone, and draws beside data"
        )
    return {name: found[name] for name in sorted(scores, key=lambda name: -scores[name])}
