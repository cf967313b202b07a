"""Files of runs: written whole, read without unpickling."""
