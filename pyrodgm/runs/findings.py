"""What did a check find? In numbers, and in words that a person reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyrodgm.display import json_number, number
from pyrodgm.evaluate.posterior import diagnostics, predictive

EXACT = "There is no guide to judge: the model has no latents, and its likelihood is exact."
GIVEN = {
    "posterior": "given the frames before and the guide's latents, which have seen the frame",
    "ancestral": "drawn from nothing",
}
WORTHLESS = 0.01  # nats of a frame


@dataclass(frozen=True)
class Check:
    """What a check found.

    Args:
        checkpoint: whose weights were checked.
        split: on what.
        rows: of which sequences the guide was, (N,).
        draws: importance draws per sequence, K.
        posterior_draws: draws kept in posterior.nc, and replicates; fewer than asked for where
            they would take more than 256 MiB, see `pyrodgm.evaluate.posterior.kept.affordable`.
        sequences: how many the split has.
        replicated: how many of them the replicates are of; all, unless ten draws would not fit.
        verdict: whether the guide can be trusted, in words.
        k: Pareto k-hat of every sequence, (N,).
        efficiency: effective share of the draws, (N,), in (0, 1].
        gap: nats per frame that the guide is at least away from the posterior, (N,).
        latent_nats: what the latents tell of a frame, see `bounds.latent_nats`.
        p_values: Bayesian p-values by kind of replicate, "posterior" or "ancestral", and statistic.
        paths: the files written, by name.
    """

    checkpoint: str
    split: str
    rows: np.ndarray
    draws: int
    posterior_draws: int
    sequences: int
    replicated: int
    verdict: str
    k: np.ndarray
    efficiency: np.ndarray
    gap: np.ndarray
    latent_nats: float
    p_values: dict[str, dict[str, float]]
    paths: dict[str, Path]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; an infinite k-hat is null.

        Where ``exact`` is true there is no guide: k-hat and the gap are 0 and say nothing.
        """
        return {
            "checkpoint": self.checkpoint,
            "split": self.split,
            "draws": self.draws,
            "posterior_draws": self.posterior_draws,
            "replicated": self.replicated,
            "verdict": self.verdict,
            "exact": self.verdict == EXACT,
            "trusted": int((self.k <= diagnostics.THRESHOLD).sum()),
            "examples": len(self.k),
            "rows": self.rows.tolist(),
            "k": _numbers(self.k),
            "efficiency": _numbers(self.efficiency),
            "gap_nats_per_frame": _numbers(self.gap),
            "latent_nats_per_frame": self.latent_nats,
            "p_values": self.p_values,
            "misfits": {kind: predictive.misfits(p) for kind, p in self.p_values.items()},
            "paths": {name: str(path) for name, path in self.paths.items()},
        }

    def text(self) -> str:
        """The findings as a person reads them."""
        lines = [
            f"Guide, on {len(self.rows)} sequences of the {self.split} split with {self.draws} "
            "draws each",
            f"  {self.verdict}",
        ]
        if self.verdict != EXACT:
            lines.append(
                f"  It is at least {number(self.gap.mean())} nats per frame away from the "
                f"posterior; {100 * np.median(self.efficiency):.3g} % of the draws are effective "
                "(median)."
            )
            lines.append(f"  {latent_words(self.latent_nats)}")
        lines += [
            f"Model, by {self.posterior_draws} replicates of {self._replicated_words()}",
            *(f"  {self._misfit_words(kind)}" for kind in self.p_values),
            "Files",
            *(f"  {path}" for path in self.paths.values()),
        ]
        return "\n".join(lines)

    def _replicated_words(self) -> str:
        """What was replicated: all of the data, or some sequences."""
        if self.replicated == self.sequences:
            return "the data"
        return f"{self.replicated} of {self.sequences} sequences, spread evenly over the split"

    def _misfit_words(self, kind: str) -> str:
        """Which statistics the replicates of a kind miss."""
        alone = kind == "posterior" and self.verdict == EXACT
        given = "given the frames before" if alone else GIVEN[kind]
        p = self.p_values[kind]
        missed = predictive.misfits(p)
        if not missed:
            return f"{kind}, {given}: nothing misses the data"
        words = ", ".join(
            f"{100 * p[name]:.0f} % of {name} {where}"
            if name in predictive.SHARES
            else f"{name} {where} (p = {p[name]:.2f})"
            for name, where in missed.items()
        )
        return f"{kind}, {given}: {words}"


def latent_words(nats: float) -> str:
    """What the latents are worth, in a sentence."""
    told = f"The latents tell {number(nats)} nats of a frame"
    if nats < WORTHLESS:
        return f"{told}, next to nothing: the guide may be right because nothing depends on it."
    return f"{told}, beyond what the model expects before it sees the frame."


def _numbers(values: np.ndarray) -> list[float | None]:
    return [json_number(float(value)) for value in values]
