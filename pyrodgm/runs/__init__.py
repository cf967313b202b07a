"""Runs: fitting, loading and asking fitted pairs."""
