"""The page of runs: a local server and a report file, on what run folders hold. Neither writes into a run."""
