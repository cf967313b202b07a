"""The evidence lower bound without the score of the guide: sticking the landing."""

from __future__ import annotations

from typing import ClassVar, final

from pyrodgm.objectives.base import Needs
from pyrodgm.objectives.path_elbo import PathELBO
from pyrodgm.objectives.targets import Targets


@final
class STL(PathELBO):
    r"""The evidence lower bound, with the gradient of the guide through its draws alone.

    .. math::
        \nabla_\phi = \nabla_\phi \big[\log p(x, z_\phi) - \log q_{\bar\phi}(z_\phi \mid x)\big],
        \qquad z_\phi = z(\epsilon, \phi), \quad \bar\phi = \phi \text{ held fixed}

    The mean gradient is that of `ELBO`. Its variance converges to zero as the guide approaches the
    exact posterior; that of `ELBO` does not.

    Args:
        model: the model p.
        guide: the guide q, all of whose draws carry gradients.
        particles: number of draws K.

    Reference: Roeder, Wu and Duvenaud, Sticking the landing, 2017, equation 8.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("V-LB", "V-LB", "section 3.2.1, path derivative"),
    )
    needs: ClassVar[Needs] = Needs(reparameterised=True)
