"""Score gradients of bits with a first-order expansion around the mean field as baseline."""

from __future__ import annotations
