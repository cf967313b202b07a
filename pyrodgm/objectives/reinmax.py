"""The evidence lower bound with second-order gradients of bits and classes."""

from __future__ import annotations

from typing import ClassVar, final

from pyrodgm.distributions import reinmax
from pyrodgm.engine.rollout import Surrogate
from pyrodgm.objectives.base import DISCRETE, Needs
from pyrodgm.objectives.path_elbo import PathELBO
from pyrodgm.objectives.targets import Targets


@final
class ReinMax(PathELBO):
    r"""The evidence lower bound, where draws pass on gradients by the trapezoidal rule.

    .. math::
        \nabla_\phi L \approx \nabla_\phi \big[\log p(x, z) - \log q_{\bar\phi}(z \mid x)\big],
        \qquad \frac{\partial z}{\partial l} := \tfrac12 |z - \sigma(l)|,
        \quad z = [\varepsilon < l]

    for a bit with log-odds l; `pyrodgm.distributions.ReinMaxOneHots` has the derivative of a
    one-hot coding. With :math:`\bar\phi = \phi` held fixed, the mean over a bit is

    .. math:: E\big[f'(z)\, \tfrac12 |z - p|\big] = p (1 - p)\, \tfrac12 [f'(0) + f'(1)]
        = p (1 - p) \Big[f(1) - f(0) + \tfrac{1}{12} f'''(\xi)\Big]

    so that the gradient is exact where the bound is quadratic in every bit and coding, and
    **biased** in :math:`\phi` by the order of its third derivatives otherwise; more draws do not
    change that. The gradient of the model is unbiased, and continuous latents have path gradients.
    Gradients flow through all later draws too, at the cost of one draw.

    Args:
        model: the model p, with binary or one-hot categorical latents.
        guide: the guide q.
        particles: number of draws K.

    Reference: Liu et al., Bridging discrete and backpropagation: straight-through and beyond, 2023;
    the form for a bit is derived from theirs for symbols.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("V-LB", "V-LB, biased", "section 3.2.1; Liu et al. 2023"),
    )
    needs: ClassVar[Needs] = DISCRETE
    surrogate: ClassVar[Surrogate | None] = staticmethod(reinmax)
