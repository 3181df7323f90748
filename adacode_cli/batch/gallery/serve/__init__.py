"""The page of a run from a server on this machine, which keeps judgements and painted masks."""
