"""Studies: which model, guide and objective suits a dataset, over seeds."""
