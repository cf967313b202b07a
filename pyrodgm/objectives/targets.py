"""What a learning algorithm optimises: one objective for the model, and one for the guide."""

from __future__ import annotations

from dataclasses import dataclass

# The columns and rows of table 1 of the review, in its order; x is data, z are latents.
MODEL_TARGETS = {
    "ML": "max E log p(x)",
    "V-LB": "max of the evidence lower bound, E log p(x, z) / q(z | x)",
    "IW-LB": "max of the importance-weighted bound of K draws",
    "f-divergence-LB": "min of a variational bound on a divergence of data and model",
}
GUIDE_TARGETS = {
    "V-LB": "max of the evidence lower bound, equal to min E KL(q(z | x), p(z | x))",
    "IW-LB": "max of the importance-weighted bound of K draws",
    "KL by IS": "min E KL(p(z | x), q(z | x)) by importance sampling",
    "KL by MIS": "min E KL(p(z | x), q(z | x)) by Metropolis independence sampling",
    "sleep": "min E KL(p(z | x), q(z | x)) on x drawn from the model",
    "f-divergence-LB": "max of the variational bound, by a critic in the place of a guide",
}


@dataclass(frozen=True)
class Targets:
    """What an objective optimises with some of its options; its place in table 1 of the review.

    Args:
        theta: for the model: a key of `MODEL_TARGETS`, or another one in a few words.
        phi: for the guide or critic: a key of `GUIDE_TARGETS`, another one in a few words, or
            "none".
        source: equations of Ou, A review of learning with deep generative models, such as "eq. 10";
            else the paper and its equations.
        options: with which it does, such as "sleep=1"; empty for all.

    >>> Targets("V-LB", "sleep", "eq. 20-22").in_review
    True
    """

    theta: str
    phi: str
    source: str
    options: str = ""

    @property
    def in_review(self) -> bool:
        """Whether it is a cell of table 1 of the review."""
        return self.theta in MODEL_TARGETS and self.phi in GUIDE_TARGETS
