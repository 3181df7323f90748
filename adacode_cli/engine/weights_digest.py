"""What tells weights apart: not the files that they lie in, which may be converted and split, but what they hold."""

from __future__ import annotations

import hashlib
import json

from adacode_cli.model.network import AdaCode


def network_digest(network: AdaCode) -> str:
    """64 hexadecimal digits of a network's configuration and of all its values, the same on every device."""
    digest = hashlib.sha256(json.dumps(network.config.to_dict(), sort_keys=True).encode())
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()
