"""The figure of a simulation-based calibration."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from pyrodgm.evaluate.posterior.calibration import Calibration
from pyrodgm.figures.checks import BAD, ONE_STEP


def rank_differences(found: Calibration) -> Figure:
    """Empirical distribution functions of ranks less the uniform one, with the simultaneous band.

    `arviz_plots.plot_ecdf_pit` draws one quantity at a time, with a band for it alone.

    Args:
        found: ranks and band.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    ax, wrong = figure.subplots(), found.misfits()
    band = (found.lower - found.at, found.upper - found.at)
    ax.fill_between(found.at, *band, color="#dddddd", lw=0, label="limits for an exact guide")
    reds = iter(np.linspace(1.0, 0.35, max(1, len(wrong))))
    for name in found.ranks:
        off = found.differences(name)
        if name in wrong:
            label = f"{name}: draws {wrong[name]}"
            ax.plot(found.at, off, color=BAD, alpha=next(reds), lw=1.6, label=label)
        else:
            ax.plot(found.at, off, color=ONE_STEP, alpha=0.6, lw=1)
    ax.set(
        xlabel="rank of the simulated value among draws from the guide",
        ylabel="distribution function\nless the uniform one",
        xlim=(0, 1),
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return figure
