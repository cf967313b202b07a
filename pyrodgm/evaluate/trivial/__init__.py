"""Trivial predictors, the baselines of every result."""
