"""Images and captions listed in a CSV file, for dit-run."""
