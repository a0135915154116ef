"""A CSV file of a run's values, for dit-run."""
