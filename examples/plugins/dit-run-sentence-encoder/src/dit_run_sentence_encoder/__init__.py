"""Any sentence encoder of the hub as a text encoder for dit-run."""
