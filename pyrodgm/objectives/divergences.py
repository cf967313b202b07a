r"""f-divergences of data and draws as the value of a game, by a critic of the log ratio."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

DivergenceName = Literal["kl", "reverse-kl", "js", "pearson", "hellinger", "gan"]
Part = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Divergence:
    r"""The variational form of an f-divergence of data and draws, by a critic V.

    .. math::
        D_f(\text{data} \,\Vert\, \text{draws}) = E_{\text{draws}} f(u)
            \ge E_{\text{data}}\, a(V) - E_{\text{draws}}\, b(V), \qquad
            u = \frac{p_{\text{data}}}{p_{\text{draws}}} \\
        a(v) = f'(e^v), \qquad b(v) = f^\dagger(f'(e^v)) = e^v f'(e^v) - f(e^v)

    with equality for :math:`V = \log u`, whatever f is: since :math:`b'(v) = e^v a'(v)` and a
    increases, the derivative by V at a point is :math:`a'(V) (p_{\text{data}} - e^V
    p_{\text{draws}})`. Both parts increase with V.

    Args:
        name: of the divergence.
        first: a, of the critic at data; elementwise.
        second: b, of the critic at draws; elementwise.

    Reference: Nowozin, Cseke and Tomioka, f-GAN, 2016; this choice of a is equation 36 of Ou, A
    review of learning with deep generative models, 2018. The review calls b a decreasing function
    except for Pearson, where its negative is meant.

    >>> js = DIVERGENCES["js"]
    >>> float(js.value(torch.tensor(0.0), torch.tensor(0.0)))
    0.0
    """

    name: str
    first: Part
    second: Part

    def value(self, of_data: Tensor, of_draws: Tensor) -> Tensor:
        """One term of the variational value, for critics V at data and at as many draws."""
        return self.first(of_data) - self.second(of_draws)


def _half_js(part: Part, sign: float) -> Part:
    return lambda v: 0.5 * (part(v) + sign * math.log(2))


# Each is D(data, draws); f is in the comment.
DIVERGENCES = {
    d.name: d
    for d in (
        Divergence("kl", lambda v: 1 + v, torch.exp),  # u log u
        Divergence("reverse-kl", lambda v: -torch.exp(-v), lambda v: v - 1),  # -log u
        # (u log u - (u + 1) log((u + 1) / 2)) / 2, at most log 2
        Divergence("js", _half_js(F.logsigmoid, 1), _half_js(F.softplus, -1)),
        # (u - 1)^2, whose divergence is E_draws (u - 1)^2
        Divergence("pearson", lambda v: 2 * torch.expm1(v), lambda v: torch.expm1(2 * v)),
        # (sqrt u - 1)^2, the integral of (sqrt data - sqrt draws)^2, at most 2
        Divergence("hellinger", lambda v: -torch.expm1(-v / 2), lambda v: torch.expm1(v / 2)),
        # u log u - (u + 1) log(u + 1): 2 JS - log 4, which is not zero for equal distributions
        Divergence("gan", F.logsigmoid, F.softplus),
    )
}

# With a critic of slope at most one it is the Wasserstein-1 distance; V is then no log ratio.
LINEAR = Divergence("linear", lambda v: v, lambda v: v)
