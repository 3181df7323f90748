"""The codes of one image and the file that keeps them: NumPy arrays ↔ bytes, without a network.

What the arrays mean is the network's business (`engine.codes`); how the bytes lie is documented in docs/codes.md.
"""
