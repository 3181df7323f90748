"""One file: bytes ↔ pixels, and all that must survive (depth, alpha, grey, colour profile, metadata, pages); masks.

This file stays empty of imports so that naming a submodule costs no more than that submodule.
"""
