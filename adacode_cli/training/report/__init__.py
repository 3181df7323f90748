"""One page about a training run: its curves, samples, settings and photographs, drawn from the run folder alone."""
