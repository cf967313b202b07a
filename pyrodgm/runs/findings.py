"""The findings of a check, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyrodgm.display import json_number, number
from pyrodgm.evaluate.latents.activity import ACTIVE
from pyrodgm.evaluate.latents.classes import class_words
from pyrodgm.evaluate.likelihood.gaps import gaps_words
from pyrodgm.evaluate.posterior import diagnostics, predictive
from pyrodgm.evaluate.posterior.calibration import calibration_words

CERTAIN = (
    "The guide takes the nearest codes of every row without randomness. It is no approximation of "
    "the posterior, of which nothing is known: k-hat, effective draws and the gap have no meaning. "
    "What is known is how well rows are reconstructed from their codes, and which codes are used."
)
EXACT = "There is no guide to check: the model has no latents, and its likelihood is exact."
GIVEN = {
    "posterior": "given the frames before and the guide's latents, which depend on the frame",
    "ancestral": "whole sequences drawn from the model",
}
UNUSED = 0.01  # nats per frame, below which latents count as unused


@dataclass(frozen=True)
class Check:
    """The findings of a check.

    Args:
        checkpoint: name of the checkpoint with the weights.
        split: name of the split.
        rows: sequences used for the check of the guide, (N,).
        draws: importance draws per sequence, K.
        posterior_draws: draws stored in posterior.nc, and replicates; fewer than requested if they
            would take more than 256 MiB or some seconds, see
            `pyrodgm.evaluate.posterior.kept.affordable`.
        sequences: number of sequences in the split.
        replicated: number of sequences with replicates; fewer than all if these take too long.
        verdict: whether the guide can be trusted, in words.
        k: Pareto k-hat of every sequence, (N,).
        efficiency: effective share of the draws, (N,), in (0, 1].
        gap: lower estimate of the divergence of the guide from the posterior, nats per frame, (N,).
        latent_nats: KL divergence of the guide from the prior, see `bounds.latent_nats`.
        reconstruction: expectation of log p(x | z) under the guide, nats per frame.
        activities: variance over frames of the posterior mean of every latent, by site, (J,); see
            `pyrodgm.evaluate.latents.activity.activities`.
        classes: use of the classes of categorical latents by site, as `ClassUse.to_dict` has it.
        calibration: ranks of simulated latents among draws from the guide, as `Calibration.to_dict`
            has them; None if they were not computed.
        gaps: inference gap and its parts, as `Gaps.to_dict` has them; None if not computed.
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
    reconstruction: float
    activities: dict[str, np.ndarray]
    classes: dict[str, dict[str, Any]]
    calibration: dict[str, Any] | None
    gaps: dict[str, Any] | None
    p_values: dict[str, dict[str, float]]
    paths: dict[str, Path]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; an infinite k-hat is null.

        If ``exact`` is true there is no guide: k-hat and the gap are 0 without meaning. If
        ``certain`` is true the guide has no randomness, k-hat and the gap have no meaning either,
        and no sequence counts as trusted.
        """
        certain = self.verdict == CERTAIN
        return {
            "checkpoint": self.checkpoint,
            "split": self.split,
            "draws": self.draws,
            "posterior_draws": self.posterior_draws,
            "replicated": self.replicated,
            "verdict": self.verdict,
            "exact": self.verdict == EXACT,
            "certain": certain,
            "trusted": 0 if certain else int((self.k <= diagnostics.THRESHOLD).sum()),
            "examples": len(self.k),
            "rows": self.rows.tolist(),
            "k": _numbers(self.k),
            "efficiency": _numbers(self.efficiency),
            "gap_nats_per_frame": _numbers(self.gap),
            "latent_nats_per_frame": self.latent_nats,
            "reconstruction_nats_per_frame": self.reconstruction,
            "active_units": {name: _units(each) for name, each in self.activities.items()},
            "class_use": self.classes,
            "calibration": self.calibration,
            "gaps": self.gaps,
            "p_values": self.p_values,
            "misfits": {kind: predictive.misfits(p) for kind, p in self.p_values.items()},
            "paths": {name: str(path) for name, path in self.paths.items()},
        }

    def text(self) -> str:
        """The findings as text."""
        lines = [
            f"Guide, on {len(self.rows)} sequences of the {self.split} split with {self.draws} "
            f"draws each{self._more_words()}",
            f"  {self.verdict}",
        ]
        if self.verdict not in (EXACT, CERTAIN):
            lines.append(
                f"  The ELBO is at least {number(self.gap.mean())} nats per frame below the "
                f"log-likelihood; {100 * np.median(self.efficiency):.3g} % of the draws are "
                "effective (median)."
            )
        if self.verdict != EXACT:
            lines += [f"  {sentence}" for sentence in latent_findings(self.to_dict())]
        if self.classes:
            lines.append(f"  {class_words(self.classes)}")
        if self.gaps is not None:
            lines.append(f"  {gaps_words(self.gaps)}")
        if self.calibration is not None:
            lines.append(f"  {calibration_words(self.calibration)}")
        lines += [
            f"Model, by {self.posterior_draws} replicates of {self._replicated_words()}",
            *(f"  {self._misfit_words(kind)}" for kind in self.p_values),
            "Files",
            *(f"  {path}" for path in self.paths.values()),
        ]
        return "\n".join(lines)

    def _more_words(self) -> str:
        """How to check more sequences, where these are not all of the split."""
        if len(self.rows) == self.sequences:
            return ""
        return f" (of {self.sequences}; --sequences N takes others)"

    def _replicated_words(self) -> str:
        """Which data was replicated: all of it, or some sequences."""
        if self.replicated == self.sequences:
            return "the data"
        return f"{self.replicated} of {self.sequences} sequences, spread evenly over the split"

    def _misfit_words(self, kind: str) -> str:
        """A sentence on the statistics in which replicates of a kind differ from the data."""
        alone = kind == "posterior" and self.verdict == EXACT
        given = "given the frames before" if alone else GIVEN[kind]
        p = self.p_values[kind]
        missed = predictive.misfits(p)
        if not missed:
            return f"{kind}, {given}: all statistics are consistent with the data"
        words = ", ".join(
            f"{100 * p[name]:.0f} % of {name} {where}"
            if name in predictive.SHARES
            else f"{name} {where} (p = {p[name]:.2f})"
            for name, where in missed.items()
        )
        return f"{kind}, {given}: {words}"


def latent_findings(found: Mapping[str, Any]) -> list[str]:
    """Sentences on what the latents are used for, but for classes, from `Check.to_dict`."""
    nats = found["latent_nats_per_frame"]
    sentences = [reconstruction_words(found)] if found["certain"] else [latent_words(nats)]
    classes = found["class_use"]
    units = {name: of for name, of in found["active_units"].items() if name not in classes}
    return [*sentences, active_words(units)] if units else sentences


def reconstruction_words(found: Mapping[str, Any]) -> str:
    """A sentence on the bound of codes without randomness, and its two parts."""
    rows, codes = found["reconstruction_nats_per_frame"], found["latent_nats_per_frame"]
    return (
        f"Log p(x | z) of a row given its codes is {number(rows)} nats, and log p(z) of the codes "
        f"{number(-codes)}; their sum {number(rows - codes)} is a lower bound on log p(x)."
    )


def latent_words(nats: float) -> str:
    """A sentence on the KL divergence of the guide from the prior."""
    divergence = f"KL(guide, prior) is {number(nats)} nats per frame"
    if nats < UNUSED:
        return f"{divergence}: the latent variables are unused (posterior collapse)."
    return f"{divergence}: this is the information in the latent variables."


def active_words(units: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence on the number of active units, as `Check.to_dict` has them.

    >>> active_words({"z": {"active": 2, "units": 3}})
    'Active units: 2 of 3 of z (variance over frames of the posterior mean above 0.01).'
    """
    counts = ", ".join(f"{of['active']} of {of['units']} of {name}" for name, of in units.items())
    found = f"Active units: {counts} (variance over frames of the posterior mean above {ACTIVE})."
    active, total = (sum(of[key] for of in units.values()) for key in ("active", "units"))
    if active >= total / 2:
        return found
    return (
        f"{found} Most latents are unused: fewer may do, or another objective may use more of them."
    )


def _units(activities: np.ndarray) -> dict[str, Any]:
    """Active units and all units of a site, with the variances of their posterior means."""
    return {
        "active": int((activities > ACTIVE).sum()),
        "units": len(activities),
        "variances": _numbers(activities),
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    return [json_number(float(value)) for value in values]
