"""The modules of `benchmarks/on_gpu.py`. Each needs only the standard library."""
