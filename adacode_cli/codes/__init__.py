"""The codes of one image and the file that stores them: NumPy arrays ↔ bytes, without a network.

The engine interprets the arrays (`engine.codes`); docs/codes.md documents the layout of the file.
"""
