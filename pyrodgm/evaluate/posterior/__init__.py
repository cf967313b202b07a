"""Posterior and posterior-predictive checks."""
