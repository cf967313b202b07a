"""Trivial predictors that a model has to beat."""
