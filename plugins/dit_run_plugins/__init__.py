"""The components that ship with dit-run, registered through the same hook as those of any other package."""
