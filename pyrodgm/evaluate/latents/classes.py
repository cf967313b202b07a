"""How categorical latents are used: shares of classes, and their information about the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrodgm.display import counted, number
from pyrodgm.engine.sites import Site

DEAD = 0.01  # of the share under uniform use, below which a class is dead
INFORMATIVE = 0.01  # nats about the data, above which a variable is active


@dataclass(frozen=True)
class ClassUse:
    r"""How the J variables of a site use their C classes under the guide.

    .. math:: I(z_j; x) = H\Big[\frac1F \sum_f q(z_j \mid x, f)\Big]
        - \frac1F \sum_f H\big[q(z_j \mid x, f)\big]

    over F frames. The first entropy is that of the aggregate; it is at most log C.

    Args:
        shares: of every class, the aggregate, (J, C); rows sum to one.
        conditional: mean entropy of a variable given the frame, (J,), in nats.
        shared: whether the classes are codes of one codebook, which all variables share.
    """

    shares: np.ndarray
    conditional: np.ndarray
    shared: bool = False

    @property
    def aggregate(self) -> np.ndarray:
        """Entropy of the aggregate of every variable, (J,), in nats."""
        return _entropy(self.shares)

    @property
    def information(self) -> np.ndarray:
        """Mutual information of every variable and the frame, (J,), in nats."""
        return np.maximum(self.aggregate - self.conditional, 0)

    @property
    def used(self) -> np.ndarray:
        """The shares that count as classes: of every variable, (J, C), or of the codes, (1, C)."""
        return self.shares.mean(0, keepdims=True) if self.shared else self.shares

    @property
    def dead(self) -> int:
        """Number of classes that are hardly used; of codes, those that no variable uses."""
        return int((self.used < DEAD / self.used.shape[1]).sum())

    @property
    def perplexity(self) -> float:
        """The number of equally used classes with the same entropy; a mean over variables."""
        return float(np.exp(_entropy(self.used)).mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, in nats; one number per variable in lists."""
        return {
            "variables": len(self.shares),
            "classes": self.shares.shape[1],
            "shared": self.shared,
            "active": int((self.information > INFORMATIVE).sum()),
            "dead": self.dead,
            "perplexity": self.perplexity,
            "shares": self.shares.tolist(),
            "aggregate_entropy": self.aggregate.tolist(),
            "conditional_entropy": self.conditional.tolist(),
            "mutual_information": self.information.tolist(),
        }


def class_use(
    expected: Mapping[str, np.ndarray], sites: Mapping[str, Site], *, shared: bool = False
) -> dict[str, ClassUse]:
    """The use of classes by site; of the sites whose values are one-hot codings.

    Args:
        expected: probability of every class in every frame, (F, J C), by site, from
            `pyrodgm.evaluate.latents.activity.expected_latents`. If latents depend on others,
            it is a mean over draws of those, and the conditional entropies are slightly too small.
        sites: of the model.
        shared: as in `ClassUse`.

    >>> certain = class_use({"z": np.eye(2)}, {"z": Site(2, "categorical", classes=2)})["z"]
    >>> certain.information.round(3), certain.perplexity, certain.dead
    (array([0.693]), 2.0, 0)
    """
    found = {}
    for name, site in sites.items():
        if site.classes:
            of_frames = expected[name].reshape(len(expected[name]), -1, site.classes)
            conditional = _entropy(of_frames).mean(0)
            found[name] = ClassUse(of_frames.mean(0), conditional, shared)
    return found


def class_words(use: Mapping[str, Mapping[str, Any]]) -> str:
    r"""Sentences on the use of classes, as `ClassUse.to_dict` has it by site.

    >>> two = {"z": ClassUse(np.array([[0.5, 0.5, 0.0]]), np.zeros(1)).to_dict()}
    >>> print(class_words(two).replace(". ", ".\n"))  # doctest: +NORMALIZE_WHITESPACE
    Classes of z: 1 of 1 variable is active (more than 0.01 nats about the data).
    Mutual information with the data is 0.693 nats per variable (mean): entropy of the aggregate
    0.693, of at most 1.099, less mean conditional entropy 0.000.
    The perplexity of the aggregate is 2.0 of 3 classes; 1 of 3 classes is dead.
    """
    return " ".join(_words(name, of) for name, of in use.items())


def _words(name: str, of: Mapping[str, Any]) -> str:
    aggregate, conditional, information = (
        number(float(np.mean(of[key])))
        for key in ("aggregate_entropy", "conditional_entropy", "mutual_information")
    )
    what, total = "codes" if of["shared"] else "classes", of["classes"]
    counts = total if of["shared"] else total * of["variables"]
    return (
        f"{what.capitalize()} of {name}: {of['active']} of {counted(of['variables'], 'variable')} "
        f"{_are(of['active'])} active (more than {INFORMATIVE} nats about the data). Mutual "
        f"information with the data is {information} nats per variable (mean): entropy of the "
        f"aggregate {aggregate}, of at most {number(math.log(total))}, less mean conditional "
        f"entropy {conditional}. The perplexity of the aggregate is {of['perplexity']:.1f} of "
        f"{total} {what}; {of['dead']} of {counts} {what} {_are(of['dead'])} dead."
    )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _entropy(probs: np.ndarray) -> np.ndarray:
    """Entropies over the last axis, in nats."""
    return -(probs * np.log(np.maximum(probs, np.finfo(probs.dtype).tiny))).sum(-1)
