"""The same TSBN step as `floor.py` in JAX: the guide's path by lax.scan, everything jitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def _init(key: Any, dim: int, hidden: int) -> dict[str, Any]:
    shapes = {
        "W1": (hidden, hidden), "W2": (hidden, dim), "W3": (dim, hidden), "W4": (dim, dim),
        "U1": (hidden, hidden), "U2": (dim, hidden), "U3": (dim, hidden),
        "A1": (dim, 100), "A2": (100, 1),
    }  # fmt: skip
    keys = jax.random.split(key, len(shapes))
    weights = {
        name: 0.01 * jax.random.normal(k, shape)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    biases = {"b": hidden, "c": dim, "d": hidden}
    return weights | {name: jnp.zeros((2, size)) for name, size in biases.items()}


def _log_prob(logits: Any, value: Any) -> Any:
    return (value * logits - jax.nn.softplus(logits)).sum(-1)


def _shift(value: Any) -> Any:
    return jnp.pad(value, ((1, 0), (0, 0), (0, 0)))[:-1]


def _loss(p: dict[str, Any], x: Any, key: Any, mean: Any, variance: Any) -> Any:
    length, size, _ = x.shape
    x_past = _shift(x)
    first = (jnp.arange(length) == 0).astype(x.dtype)[:, None, None]

    def bias(name: str) -> Any:
        return first * p[name][0] + (1 - first) * p[name][1]

    inputs = x @ p["U2"] + x_past @ p["U3"] + bias("d")
    noise = jax.random.logistic(key, (length, size, p["U1"].shape[0]))

    def frame(z: Any, now: tuple[Any, Any]) -> tuple[Any, Any]:
        z = (now[0] + z @ p["U1"] > now[1]).astype(x.dtype)
        return z, z

    _, z = jax.lax.scan(frame, jnp.zeros((size, p["U1"].shape[0])), (inputs, noise))
    z = jax.lax.stop_gradient(z)
    z_past = _shift(z)
    log_q = _log_prob(inputs + z_past @ p["U1"], z)
    log_p = _log_prob(z_past @ p["W1"] + x_past @ p["W3"] + bias("b"), z)
    log_p = log_p + _log_prob(z @ p["W2"] + x_past @ p["W4"] + bias("c"), x)
    cost = jax.lax.stop_gradient(log_p - log_q)
    predicted = (jnp.tanh(x @ p["A1"]) @ p["A2"])[..., 0]
    left = cost - jax.lax.stop_gradient(predicted) - mean
    signal = jnp.cumsum(left[::-1], 0)[::-1]
    scale = jnp.maximum(1.0, jnp.sqrt(variance))
    surrogate = (log_p + signal / scale * log_q).sum(0).mean()
    fit = ((cost - mean - predicted) ** 2).sum(0).mean()
    moments = (0.8 * mean + 0.2 * left.mean(), 0.8 * variance + 0.2 * signal.var())
    return fit - surrogate, moments


def jax_step(x: np.ndarray, hidden: int) -> Callable[[], object]:
    """One step of Adam on x (B, T, D), compiled once."""
    data = jnp.asarray(x.transpose(1, 0, 2))
    params = _init(jax.random.PRNGKey(0), x.shape[-1], hidden)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = {"p": params, "m": zeros, "v": zeros, "n": 0, "mean": 0.0, "variance": 1.0}

    @jax.jit
    def update(s: dict[str, Any], key: Any) -> dict[str, Any]:
        grad, moments = jax.grad(_loss, has_aux=True)(s["p"], data, key, s["mean"], s["variance"])
        n = s["n"] + 1
        m = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, s["m"], grad)
        v = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, s["v"], grad)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**n) / (1 - 0.9**n)
        p = jax.tree.map(lambda w, a, b: w - rate * a / (jnp.sqrt(b) + 1e-8), s["p"], m, v)
        return {"p": p, "m": m, "v": v, "n": n, "mean": moments[0], "variance": moments[1]}

    def step() -> None:
        state.update(update(dict(state), jax.random.PRNGKey(int(state["n"]))))
        jax.block_until_ready(state["p"])

    return step
