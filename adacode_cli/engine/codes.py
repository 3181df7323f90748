"""An image to its codes and back through one network, the same way every time.

Tiles leave no trace, so the same image gives the same codes, and the same codes the same pixels, bit for bit on one
machine, device and precision. An image whose codes would depend on the free memory is refused.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch

from adacode_cli.checkpoints.file_names import SUFFIXES
from adacode_cli.checkpoints.format import PART_KEYS
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.checkpoints.priors import HINT as PRIOR_HINT
from adacode_cli.codes.image import Codes, DecoderIdentity, in_steps
from adacode_cli.codes.prior import Prior
from adacode_cli.engine.halves import Coded
from adacode_cli.engine.images import Pixels
from adacode_cli.engine.runner import Drawn, Runner
from adacode_cli.errors import DeviceError, WeightsError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode

# Cells of the padding that are kept: without them images whose sides are not whole windows differ at
# the bottom and the right (35 dB to the unpadded whole; one cell 45 dB, two 57 dB).
_MARGIN_CELLS = 2
_DIGEST_BYTES = 16


class Coder:
    """Codes by one network. `name` is what files will call its weights. Threads take turns, as with the runner.

    Raises WeightsError for a network that needs more than the codes.
    """

    def __init__(self, runner: Runner, name: str) -> None:
        _check_rebuilds_from_codes(runner.config, name)
        self._runner = runner
        self.identity = DecoderIdentity(name, decoder_digest(runner.network))

    def encode(self, image: Pixels) -> Codes:
        """H×W or H×W×3 image → its codes. Raises InputError where results are not finite, DeviceError."""
        config, (h, w) = self._runner.config, image.shape[:2]
        deep = image.dtype != np.uint8
        self._check_room(h, w, deep=deep)
        coded, notes = self._runner.encode(image)
        rows, columns = self._kept(h, w, *coded.weights_KHW.shape[1:])
        return Codes(
            height=h,
            width=w,
            grey=image.ndim == 2,
            dtype=image.dtype,
            stride=config.latent_stride,
            book_sizes=config.book_sizes,
            codes_KHW=torch.stack(coded.codes)[:, :rows, :columns].numpy().astype(np.uint16),
            steps_KHW=in_steps(coded.weights_KHW[:, :rows, :columns].numpy()),
            decoder=self.identity,
            notes=notes,
        )

    def decode(self, codes: Codes) -> Drawn:
        """The image that codes hold. Raises WeightsError for codes of another network, InputError, DeviceError."""
        self._check_belong(codes)
        deep = codes.dtype != np.uint8
        self._check_room(codes.height, codes.width, deep=deep)
        grids = torch.from_numpy(codes.codes_KHW.astype(np.int64)).unbind(0)
        # The order of values in memory changes the last bits of a convolution.
        mixing = torch.from_numpy(np.ascontiguousarray(codes.mixing))
        coded = Coded(grids, mixing, codes.height, codes.width)
        return self._runner.decode(coded, dtype=codes.dtype, grey=codes.grey)

    def _kept(self, height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
        """Of a padded grid, the cells that matter to the image; with GroupNorm all do."""
        config = self._runner.config
        if config.norm == "group":
            return rows, columns
        touched = (-(-side // config.latent_stride) for side in (height, width))
        rows, columns = (min(n + _MARGIN_CELLS, all_) for n, all_ in zip(touched, (rows, columns), strict=True))
        return rows, columns

    def _check_room(self, height: int, width: int, *, deep: bool) -> None:
        """Raises DeviceError where only a sample would fit the memory: codes must not depend on the free memory."""
        if self._runner.plan(height, width, deep=deep).sampled and self._runner.options.tiling == "exact":
            raise DeviceError(
                f"not enough memory for the codes of {width}×{height} pixels, which these weights normalise at once",
                hint="Use the bundled weights, --tiling sampled, a smaller image, or close other programs.",
                only_this_image=True,
            )

    def _check_belong(self, codes: Codes) -> None:
        config, made_with = self._runner.config, codes.decoder
        sizes = config.book_sizes[: len(codes.book_sizes)]  # An image can be made of the first levels alone.
        same_shape = (codes.stride, codes.book_sizes) == (config.latent_stride, sizes)
        same_shape = same_shape and len(codes.steps_KHW) == config.num_bases
        if made_with.digest == self.identity.digest and same_shape:
            return
        name = made_with.name
        # A file of weights is not pulled.
        use = f"Use --weights {name}"
        use += "" if name.endswith(SUFFIXES) else f" after `adacode weights pull {name}`"
        raise WeightsError(
            f"its codes were made with the weights {name!r} (decoder {made_with.digest.hex()[:12]}), "
            f"not with {self.identity.name!r} (decoder {self.identity.digest.hex()[:12]})",
            hint=f"{use}; if you use them already, they have been trained again since then: use the earlier file, or "
            "the version of adacode that wrote the codes.",
            only_this_image=True,
        )


def prior_of(source: WeightsSource, book_sizes: tuple[int, ...]) -> Prior | None:
    """The prior of the first level of codes, of these codebooks; None where the weights' family has none, or one of
    others.

    Raises WeightsError for a damaged file.
    """
    found = source.prior()
    if found is None or found[1].book_sizes != book_sizes:
        return None
    path, stored = found
    try:
        return Prior(stored.order, stored.book_sizes, stored.tensors)
    except ValueError as error:
        raise WeightsError(f"does not hold a prior of codes: {error}", path=path, hint=PRIOR_HINT) from error


def decoder_digest(network: AdaCode) -> bytes:
    """16 bytes that identify a decoder: a digest of the configuration and values of what turns codes into pixels."""
    state, config = network.state_dict(), network.config.to_dict()
    prefixes = tuple(prefix for part in PART_KEYS.values() for prefix in part)
    names = ["channels", "grid", "decoder_depth", "head_depth", "norm", "codebooks"]
    # Without these, the digest is as in earlier versions.
    if network.own_decoder is not None:
        names, prefixes = [*names, "own_decoder"], (*prefixes, "own_decoder.")
    if network.config.residual is not None:
        names.append("residual")
    digest = hashlib.sha256(json.dumps({name: config[name] for name in names}).encode())
    for key in sorted(key for key in state if key.startswith(prefixes)):
        digest.update(key.encode())
        digest.update(state[key].detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return digest.digest()[:_DIGEST_BYTES]


def _check_rebuilds_from_codes(config: NetworkConfig, name: str) -> None:
    if not config.is_of_codes_alone:
        raise WeightsError(
            f"{name} makes its images from more than codes", hint="Use weights for reconstruct, such as compact."
        )
