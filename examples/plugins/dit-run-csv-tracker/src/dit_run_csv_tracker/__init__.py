"""A run's numbers as comma-separated values, for dit-run."""
