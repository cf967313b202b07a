"""Bounds on log-likelihoods, and exact values where there are any."""
