"""What do the features that were seen say of those that were not?"""

from __future__ import annotations

import torch
from pyro.distributions import Independent, TorchDistribution
from torch import Tensor

from pyrodgm.distributions.bernoulli import BernoulliVector
from pyrodgm.distributions.categorical import CategoricalVector
from pyrodgm.distributions.mixture import Mixture
from pyrodgm.distributions.normal import LowRankNormal, NormalVector
from pyrodgm.distributions.partial import partial
from pyrodgm.distributions.rates import RateVector
from pyrodgm.errors import CompatibilityError

INDEPENDENT = (BernoulliVector, CategoricalVector, NormalVector, RateVector, Independent)


def given_seen(law: TorchDistribution, value: Tensor, seen: Tensor) -> TorchDistribution:
    r"""A law whose missing features are distributed as given the seen ones.

    .. math:: p(x_{\text{missing}} \mid x_{\text{seen}})

    Its seen features are not those of `value`: only what is missing may be taken from its draws.

    Args:
        law: of an event (D,), with independent features, a mixture of such laws, or a normal one.
        value: the vector, (..., D); what it holds where nothing was seen does not matter.
        seen: True where a feature was observed, (..., D).

    Raises:
        CompatibilityError: the law cannot tell.

    Reference: for the normal law, Tipping and Bishop, Probabilistic principal component analysis,
    1999, equation 6, with noise of one variance per feature.

    >>> import pyro.distributions as dist
    >>> components = dist.Normal(torch.tensor([[0.0, 0.0], [9.0, 9.0]]), 1.0).to_event(1)
    >>> mixed = Mixture(torch.zeros(2), components)
    >>> told = given_seen(mixed, torch.tensor([9.0, 0.0]), torch.tensor([True, False]))
    >>> round(float(told.mean[1]), 3)
    9.0
    """
    if isinstance(law, INDEPENDENT):
        return law
    if isinstance(law, Mixture):
        component = partial(law.components, seen[..., None, :]).log_prob(value[..., None, :])
        return Mixture(law.log_weights + component, law.components)
    if isinstance(law, LowRankNormal):
        return _factors_given(law, value, seen)
    if bool((seen.all(-1) | ~seen.any(-1)).all()):
        return law
    raise CompatibilityError(
        f"{type(law).__name__} cannot draw some features of a frame given the others; take the "
        "model hmm for gaps within counts, or the emission bernoulli for bits"
    )


def _factors_given(law: LowRankNormal, value: Tensor, seen: Tensor) -> LowRankNormal:
    r"""With :math:`x = m + F u + e`, the law of x for u given the features seen."""
    weight = seen[..., None] * law.factor / law.diagonal[..., None]  # R^-1 F
    eye = torch.eye(law.factor.shape[-1], dtype=value.dtype, device=value.device)
    precision = eye + law.factor.mT @ weight
    rest = torch.where(seen, value - law.loc, 0.0)
    u = torch.linalg.solve(precision, (weight.mT @ rest[..., None]))
    loc = law.loc + (law.factor @ u).squeeze(-1)
    spread = torch.linalg.cholesky(torch.linalg.inv(precision))
    return LowRankNormal(loc, law.factor @ spread, law.diagonal, law.constant)
