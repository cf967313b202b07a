"""Any Pyro program on a batch: its sites by a trace under a plate of draws at dimension -3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.factors import Draws, Factor, Factors, num_draws, refuse_other_sites

Program = Callable[..., Any]


def traced(program: Program, batch: Batch, particles: int, *, pathwise: bool = True) -> Draws:
    """Draws of every latent site of a Pyro program, K times; see `pyrodgm.engine.draws.draw`."""
    sites = _sites(program, batch, particles)
    factors = {name: _factor(site, pathwise=pathwise) for name, site in sites.items()}
    values = {name: factors[name].value for name, s in sites.items() if not s["is_observed"]}
    return Draws(values, {}, {}, lambda: factors)


def conditioned(program: Program, batch: Batch, values: Mapping[str, Tensor]) -> Factors:
    """The factors of a Pyro program's sites at given values of its latent sites, (K, B, T, D)."""
    particles = num_draws(values)
    sites = _sites(poutine.condition(program, data=dict(values)), batch, particles)
    latent = {name for name, site in sites.items() if not site["is_observed"]}
    refuse_other_sites(latent | (values.keys() & sites.keys()), set(values))
    return {name: _factor(site) for name, site in sites.items()}


def _sites(program: Program, batch: Batch, particles: int) -> dict[str, dict[str, Any]]:
    """Sample sites of any Pyro program on a batch, as Pyro's trace has them."""
    with pyro.plate("particles", particles, dim=-3):
        nodes: dict[str, Any] = dict(poutine.trace(program).get_trace(batch).nodes)
    return {
        name: site
        for name, site in nodes.items()
        if site["type"] == "sample" and not isinstance(site["fn"], _Subsample)
    }


def _factor(site: dict[str, Any], *, pathwise: bool = True) -> Factor:
    carries = pathwise and bool(getattr(site["fn"], "has_rsample", False))
    value = site["value"] if carries or site["is_observed"] else site["value"].detach()
    nats = scale_and_mask(site["fn"].log_prob(value), mask=site["mask"])
    return Factor(value, site["fn"], scale_and_mask(nats, site["scale"]), nats, carries)
