"""Any sentence encoder of the hub as dit-run's text encoder."""
