"""Figures, videos, sounds and files of samples, predictions and checks."""
