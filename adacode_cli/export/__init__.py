"""Weights for other programs: one whole file, the published layout, ONNX."""
