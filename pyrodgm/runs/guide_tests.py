"""Tests of a guide that a check makes where they are asked for: calibration, and gaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from pyrodgm.data.base import Sequences
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.evaluate.likelihood.ais import Chains
from pyrodgm.evaluate.likelihood.gaps import Gaps, inference_gaps
from pyrodgm.evaluate.likelihood.latent_path import refuse_without_path
from pyrodgm.evaluate.posterior.calibration import Calibration, calibration, refuse
from pyrodgm.evaluate.posterior.kept import spread_rows
from pyrodgm.figures import gaps as gap_figures
from pyrodgm.figures.calibration import rank_differences
from pyrodgm.guides import Guide
from pyrodgm.models import Model

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class GuideFindings:
    """What the tests found; None for those that were not made.

    Args:
        calibration: on simulated sequences.
        gaps: on some sequences of the data.
    """

    calibration: Calibration | None = None
    gaps: Gaps | None = None

    def figures(self) -> dict[str, Figure]:
        """A figure for each, by name."""
        drawn: dict[str, Figure] = {}
        if self.calibration is not None:
            drawn["calibration"] = rank_differences(self.calibration)
        if self.gaps is not None:
            drawn["gaps"] = gap_figures.inference_gaps(self.gaps)
        return drawn


@dataclass(frozen=True)
class GuideTests:
    """Tests of a guide beyond its importance weights, which take longer.

    Args:
        calibration: simulated sequences for simulation-based calibration; 0 for none.
        gaps: sequences whose inference gap is split into its parts; 0 for none.
        ais: whether the log-likelihood of the gaps is estimated by annealed importance sampling.
    """

    calibration: int = 0
    gaps: int = 0
    ais: bool = False

    def refuse(self, model: Model, guide: Guide) -> None:
        """Refuse before any work what cannot be done.

        Raises:
            UsageError: too few sequences, or annealing without gaps.
            CompatibilityError: a model without latents, or one that cannot be simulated or
                annealed, or a guide without randomness.
        """
        if guide.traits.latents == "none" and (self.calibration or self.gaps):
            raise CompatibilityError(
                f"{type(model).__name__} has no latents, so that there is no guide to test; leave "
                "out --calibration and --gaps"
            )
        if guide.traits.codebook and (self.calibration or self.gaps):
            raise CompatibilityError(
                f"{type(guide).__name__} takes the nearest codes without randomness: there is no "
                "approximation of the posterior whose calibration or gaps can be measured; leave "
                "out --calibration and --gaps"
            )
        if self.calibration:
            refuse(model, self.calibration)
        if self.ais:
            refuse_without_path(model, None)
        if self.gaps < 0 or (self.ais and not self.gaps):
            raise UsageError(
                f"gaps is {self.gaps}; give a number of sequences, such as 20"
                + (", whose log-likelihood ais estimates" if self.ais else "")
            )

    def make(
        self,
        model: Model,
        guide: Guide,
        sequences: Sequences,
        activities: dict[str, np.ndarray],
        *,
        draws: int,
        seed: int,
        progress: Progress,
    ) -> GuideFindings:
        """Make the tests.

        Args:
            model: the model p, with latents.
            guide: the guide q, with a density.
            sequences: that are judged.
            activities: of the latents by site, (J,).
            draws: importance draws per sequence.
            seed: of all draws.
            progress: called with the name of each part of the work and the share that is done.
        """
        calibrated = found = None
        if self.calibration:
            calibrated = calibration(
                model,
                guide,
                sequences,
                activities,
                simulated=self.calibration,
                seed=seed,
                progress=partial(progress, "calibration"),
            )
        if self.gaps:
            found = inference_gaps(
                model,
                guide,
                sequences.select(spread_rows(len(sequences), self.gaps)),
                draws=draws,
                chains=Chains() if self.ais else None,
                seed=seed,
                progress=partial(progress, "gaps"),
            )
        return GuideFindings(calibrated, found)
