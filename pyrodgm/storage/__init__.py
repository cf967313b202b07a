"""Files of runs: written atomically, read without unpickling."""
