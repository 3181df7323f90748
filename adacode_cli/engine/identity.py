"""What identifies a network: a digest of its values, not of the file that held them."""

from __future__ import annotations

import hashlib
import json

from adacode_cli.model.network import AdaCode


def network_digest(network: AdaCode) -> str:
    """SHA-256, in hexadecimal, of a network's configuration and of all its values as little-endian float32, also of its
    ranges for 8 bits, and of how near these images are as its weights state it, if it has any.

    Weights are identified by their values, not by their file: converted or renamed weights have the same digest.
    """
    digest = hashlib.sha256(json.dumps(network.config.to_dict(), sort_keys=True).encode())
    ranges = {f"{name} {one.zero}": one.steps_C for name, one in network.ranges.items()}
    for name, one in network.ranges.items():
        if one.filters is not None:
            ranges |= {f"{name} weight": one.filters.weight_OIHW, f"{name} bias": one.filters.bias_O}
    for key, value in (*sorted(network.state_dict().items()), *sorted(ranges.items())):
        digest.update(key.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    if network.int8_psnr_db is not None:  # the precision that auto takes depends on it
        digest.update(f"int8_psnr_db {network.int8_psnr_db!r}".encode())
    return digest.hexdigest()
