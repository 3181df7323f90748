"""The network, pure torch.nn: configuration, encoder, codebooks, weight predictor, decoder.

No I/O, no tiling, no losses.
"""
