"""Activity and meaning of latent variables."""
