"""The inference gap of a guide, and its parts: approximation gap and amortisation gap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrodgm.data.base import Sequences
from pyrodgm.display import counted, json_number
from pyrodgm.errors import CompatibilityError
from pyrodgm.evaluate.likelihood.ais import Chains, annealed
from pyrodgm.evaluate.likelihood.bound import standard_error
from pyrodgm.evaluate.likelihood.quadrature import integrates, quadrature
from pyrodgm.evaluate.likelihood.refine import Refinement, refine
from pyrodgm.evaluate.likelihood.weights import importance_weights
from pyrodgm.evaluate.passes import Progress, silent
from pyrodgm.guides import Guide
from pyrodgm.models import Model

DRAWS = "importance draws"
UNFINISHED = 0.1  # share of the amortisation gap that the second half of the steps still gained


@dataclass(frozen=True)
class Gaps:
    """What a guide loses, in nats of every sequence.

    Args:
        log_p: estimate of log p(x), (N,).
        by: how it was estimated, in words.
        elbo: the bound of the guide, (N,).
        refinement: bounds with variational parameters of every sequence; None if there is none.
        why_not: the reason for that; empty if there is one.
    """

    log_p: np.ndarray
    by: str
    elbo: np.ndarray
    refinement: Refinement | None
    why_not: str = ""

    @property
    def inference(self) -> np.ndarray:
        """Log-likelihood less the bound of the guide, (N,)."""
        return self.log_p - self.elbo

    @property
    def approximation(self) -> np.ndarray | None:
        """Log-likelihood less the best bound of the guide's family, (N,)."""
        return None if self.refinement is None else self.log_p - self.refinement.refined

    @property
    def amortisation(self) -> np.ndarray | None:
        """The best bound of the family less that of the guide, (N,)."""
        return None if self.refinement is None else self.refinement.amortisation_gap

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: means over sequences, in nats, and their standard errors."""
        parts = {
            "inference": self.inference,
            "approximation": self.approximation,
            "amortisation": self.amortisation,
        }
        found: dict[str, Any] = {
            "examples": len(self.elbo),
            "log_likelihood_by": self.by,
            "log_likelihood_nats_per_example": float(self.log_p.mean()),
            "elbo_nats_per_example": float(self.elbo.mean()),
        }
        for name, each in parts.items():
            mean, error = (math.nan,) * 2 if each is None else (each.mean(), standard_error(each))
            found[f"{name}_gap_nats_per_example"] = json_number(float(mean))
            found[f"standard_error_{name}_gap"] = json_number(float(error))
        gain = None if self.refinement is None else self.refinement.last_gain
        return {**found, "last_gain_nats_per_example": gain, "not_split_because": self.why_not}


def gaps_words(found: Mapping[str, Any]) -> str:
    """The gaps in words, as `Gaps.to_dict` has them."""
    inference, approximation, amortisation = (
        found[f"{name}_gap_nats_per_example"]
        for name in ("inference", "approximation", "amortisation")
    )
    error = found["standard_error_inference_gap"]
    within = "" if error is None else f" (standard error {error:.2f})"
    text = (
        f"Inference gap on {counted(found['examples'], 'sequence')}, log p(x) less the ELBO: "
        f"{inference:.2f} nats per sequence{within}, with log p(x) by {found['log_likelihood_by']}"
    )
    if approximation is None:
        return f"{text}. It is not split: {found['not_split_because']}."
    text += f"; approximation gap {approximation:.2f}, amortisation gap {amortisation:.2f}."
    if approximation < 0 and found["log_likelihood_by"].endswith(DRAWS):
        return f"{text} This estimate of log p(x) is below the refined bound: use --ais."
    if approximation < 0:
        text += " The approximation gap is zero, within the error of the refined bound."
    if found["last_gain_nats_per_example"] > UNFINISHED * max(amortisation, 0.1):
        return (
            f"{text} Refinement had not converged: the second half of its steps gained "
            f"{found['last_gain_nats_per_example']:.2f}, so the amortisation gap is larger."
        )
    if amortisation > approximation:
        return f"{text} Larger recognition networks or longer training of the guide may help most."
    return f"{text} A richer family, such as flow, may help most."


def inference_gaps(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    draws: int = 1000,
    chains: Chains | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Gaps:
    r"""The gap between log-likelihood and bound, split by `refine` where it applies.

    .. math::
        \log p(x) - L(q_\phi) = [\log p(x) - L(q^*)] + [L(q^*) - L(q_\phi)]

    The log-likelihood is by annealed importance sampling if there are chains, else by quadrature
    where it is cheap, or the bound by importance weights. The first and the last are lower bounds,
    so that inference gap and approximation gap are too.

    Args:
        model: the model p.
        guide: the guide q, with a density.
        sequences: N of them.
        draws: importance draws of the guide, K.
        chains: of annealed importance sampling; None for importance weights.
        seed: of all draws; the global generator is left alone.
        progress: called with the share done, in [0, 1].

    Raises:
        CompatibilityError: chains for a model that cannot be annealed.

    Reference: Cremer, Li and Duvenaud, Inference suboptimality in variational autoencoders, 2018.
    """
    log_w = importance_weights(model, guide, sequences, particles=draws, seed=seed).numpy()
    log_p, by = np.logaddexp.reduce(log_w, 0) - math.log(draws), f"{draws} {DRAWS}"
    if chains is not None:
        given = {"seed": seed, "progress": lambda share: progress(share / 2)}
        log_p, by = annealed(model, guide, sequences, chains, **given).nats, "annealing (ais)"
    elif integrates(model):
        log_p, by = quadrature(model, sequences), "quadrature"
    try:
        found = refine(
            model, guide, sequences, seed=seed, progress=lambda share: progress((1 + share) / 2)
        )
    except CompatibilityError as error:
        return Gaps(log_p, by, log_w.mean(0), None, str(error))
    return Gaps(log_p, by, found.amortised, found)
