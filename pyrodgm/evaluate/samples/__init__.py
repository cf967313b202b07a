"""Comparison of draws from a model with data, where densities are not needed."""
