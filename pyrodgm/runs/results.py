"""Results of a fit: bounds on both held-out splits beside trivial predictors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyrodgm.evaluate.likelihood.bound import Bound


@dataclass(frozen=True)
class Results:
    """Results of a fit.

    Args:
        run: the run folder.
        steps: training steps done.
        seconds: spent in training.
        valid: bound on the validation split; None if model or guide has no density.
        test: bound on the test split; None if `valid` is.
        valid_trivial: trivial predictors on the validation split.
        test_trivial: trivial predictors on the test split.
        chosen_by: name of the validation score that chose the weights; see `Validation.by`.
        numbers: for objectives without a bound, their own measures, by split.
    """

    run: str
    steps: int
    seconds: float
    valid: Bound | None
    test: Bound | None
    valid_trivial: dict[str, Bound]
    test_trivial: dict[str, Bound]
    chosen_by: str
    numbers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "run": self.run,
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "chosen_by": self.chosen_by,
            "valid": self.valid.to_dict() if self.valid else dict(self.numbers["valid"]),
            "test": self.test.to_dict() if self.test else dict(self.numbers["test"]),
            "floors": {
                "valid": {name: bound.to_dict() for name, bound in self.valid_trivial.items()},
                "test": {name: bound.to_dict() for name, bound in self.test_trivial.items()},
            },
        }
