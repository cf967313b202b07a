"""The training loop, its optimisers, devices and records."""
