"""Weights are known by what they hold, not by their file: converted, renamed or downloaded, they are the same."""

from __future__ import annotations

import hashlib
import json

from adacode_cli.model.network import AdaCode


def network_digest(network: AdaCode) -> str:
    """SHA-256, in hexadecimal, of a network's configuration and of all its values as little-endian float32."""
    digest = hashlib.sha256(json.dumps(network.config.to_dict(), sort_keys=True).encode())
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()
