"""Runs: fitting, loading and evaluating fitted models."""
