"""The command line: options in, a run, text and an exit code out. Nothing here imports torch before it is needed."""
