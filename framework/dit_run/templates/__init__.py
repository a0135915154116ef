"""What ``dit-run new`` begins with: for each kind a working plugin in one file, its type named ``example``."""
