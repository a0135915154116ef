"""Templates of ``dit-run new``: for each kind a working plugin in one file, with the type ``example``."""
