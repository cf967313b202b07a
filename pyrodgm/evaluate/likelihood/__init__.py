"""Bounds on log-likelihoods, and exact values where they are available."""
