"""What did a fit come to? Bounds on both held-out splits beside trivial predictors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyrodgm.evaluate.likelihood.bounds import Bound


@dataclass(frozen=True)
class Results:
    """What a fit came to.

    Args:
        run: the run folder.
        steps: training steps done.
        seconds: spent in training.
        valid: bound on the validation split.
        test: bound on the test split.
        valid_floors: trivial predictors on the validation split.
        test_floors: trivial predictors on the test split.
    """

    run: str
    steps: int
    seconds: float
    valid: Bound
    test: Bound
    valid_floors: dict[str, Bound]
    test_floors: dict[str, Bound]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "run": self.run,
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "valid": self.valid.to_dict(),
            "test": self.test.to_dict(),
            "floors": {
                "valid": {name: bound.to_dict() for name, bound in self.valid_floors.items()},
                "test": {name: bound.to_dict() for name, bound in self.test_floors.items()},
            },
        }
