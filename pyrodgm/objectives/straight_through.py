"""The evidence lower bound with straight-through gradients of bits and classes."""

from __future__ import annotations

from typing import ClassVar, final

from pyrodgm.distributions import straight_through
from pyrodgm.engine.rollout import Surrogate
from pyrodgm.objectives.base import DISCRETE, Needs
from pyrodgm.objectives.path_elbo import PathELBO
from pyrodgm.objectives.targets import Targets


@final
class StraightThrough(PathELBO):
    r"""The evidence lower bound, where draws pass on gradients as their mean does.

    .. math::
        \nabla_\phi L \approx \nabla_\phi \big[\log p(x, z) - \log q_{\bar\phi}(z \mid x)\big],
        \qquad \frac{\partial z}{\partial l} := \frac{\partial E_q z}{\partial l}

    For a bit with log-odds l this is :math:`\sigma(l)\, \sigma(-l)`, for a one-hot coding with
    logits l the derivative of their softmax; :math:`\bar\phi = \phi` is held fixed: the gradient
    flows through the draws alone, and through all later draws that depend on them. It is **biased**
    in :math:`\phi`, unless the bound is linear in every bit and coding; the gradient of the model
    is unbiased. The error is of the order of the bound's second derivatives in them, and does not
    vanish with more draws; that of `ReinMax`, at the same cost, is of the order of its third
    derivatives.

    Continuous latents beside them have path gradients.

    Args:
        model: the model p, with binary or one-hot categorical latents.
        guide: the guide q.
        particles: number of draws K.

    Reference: Bengio, Leonard and Courville, Estimating or propagating gradients through stochastic
    neurons for conditional computation, 2013, with the derivative of the sigmoid.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("V-LB", "V-LB, biased", "section 3.2.1; Bengio et al. 2013"),
    )
    needs: ClassVar[Needs] = DISCRETE
    surrogate: ClassVar[Surrogate | None] = staticmethod(straight_through)
