"""The figure of inference gaps."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from pyrodgm.evaluate.likelihood.gaps import Gaps
from pyrodgm.figures.checks import ANCESTRAL, ONE_STEP


def inference_gaps(found: Gaps) -> Figure:
    """The gap of every sequence in its two parts, or whole, the largest first.

    Args:
        found: gaps of N sequences.
    """
    figure = Figure(figsize=(9, 3), layout="constrained")
    ax, order = figure.subplots(), np.argsort(-found.inference, kind="stable")
    places = np.arange(len(order))
    if found.approximation is None or found.amortisation is None:
        ax.bar(places, found.inference[order], color=ONE_STEP, label="inference gap")
    else:
        below, above = found.approximation[order], found.amortisation[order]
        ax.bar(places, below, color=ONE_STEP, label="approximation gap")
        base = np.where(above * below > 0, below, np.maximum(below, 0))
        ax.bar(places, above, bottom=base, color=ANCESTRAL, label="amortisation gap")
    ax.set(xlabel="sequences, largest gap first", ylabel="nats per sequence")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure
