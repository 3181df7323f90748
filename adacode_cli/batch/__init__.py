"""Many files: which ones, to where, through which stages, with what outcome."""
