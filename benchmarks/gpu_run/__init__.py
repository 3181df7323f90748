"""What `benchmarks/on_gpu.py` is made of. Each module needs the standard library alone."""
