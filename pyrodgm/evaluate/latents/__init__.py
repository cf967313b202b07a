"""What latent variables do."""
