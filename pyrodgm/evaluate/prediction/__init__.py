"""Prediction one step ahead, forecasts and missing values."""
