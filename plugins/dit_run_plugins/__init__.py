"""The components that dit-run brings with it, registered through the same hook as a stranger's."""
