"""The optimizer Lion for dit-run."""
