"""A picture to its codes and back through one network, the same way every time.

Both ways go in tiles whose size does not depend on the memory that happens to be free, with as much context as the
network sees: the same picture gives the same codes, and the same codes the same pixels, bit for bit on one machine,
device and precision. Networks with GroupNorm depend on the whole picture, so they take it whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from adacode_cli.checkpoints.format import SHARED_PARTS
from adacode_cli.codes.picture import Codes, DecoderIdentity, in_steps
from adacode_cli.engine.arrays import Pixels, to_tensor
from adacode_cli.engine.device import choose_precision
from adacode_cli.engine.memory import free_bytes
from adacode_cli.engine.plan import bytes_per_output_pixel
from adacode_cli.engine.runner import Runner
from adacode_cli.errors import DeviceError, InputError, WeightsError
from adacode_cli.geometry import Box, tiles
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.model.padding import pad_mirrored, padded_size

# Output pixels. Context: what the bundled encoder and one pair of attention blocks see, to the pixel.
_ENCODE_TILE_PX = 1024
_ENCODE_CONTEXT_PX = 128
_DECODE_TILE_CELLS = 64
# Cells of the padding that are kept: without them pictures whose sides are not whole windows come out differently at
# the bottom and the right (35 dB to the unpadded whole; one cell 45 dB, two 57 dB).
_MARGIN_CELLS = 2
_DIGEST_BYTES = 16

T = TypeVar("T")


@dataclass(frozen=True)
class DecodedCodes:
    """image_CHW: 3×height×width float32 on the CPU, unclipped. notes: what a person should know."""

    image_CHW: Tensor
    notes: tuple[str, ...]


class Coder:
    """Codes by one network. `name` is what files will call its weights. Not to be shared between threads.

    Raises WeightsError for a network that sees more than the codes.
    """

    def __init__(self, runner: Runner, name: str) -> None:
        _check_rebuilds_from_codes(runner.config, name)
        self._runner = runner
        self.identity = DecoderIdentity(name, decoder_digest(runner.network))

    @torch.inference_mode()
    def encode(self, image: Pixels) -> Codes:
        """H×W or H×W×3 picture → its codes. Raises InputError where results are not finite, DeviceError."""
        config, (h, w) = self._runner.config, image.shape[:2]
        prepared = pad_mirrored(to_tensor(image), *padded_size(config, h, w))
        self._check_room(*prepared.shape[-2:])
        deep = image.dtype != np.uint8
        (codes, mixing), notes = self._finite(deep, lambda dtype: self._encoded(prepared, dtype))
        rows, columns = self._kept(h, w, *codes.shape[1:])
        return Codes(
            height=h,
            width=w,
            grey=image.ndim == 2,
            dtype=image.dtype,
            stride=config.latent_stride,
            book_sizes=tuple(size for size, _ in config.codebooks),
            codes_KHW=codes[:, :rows, :columns].numpy().astype(np.uint16),
            steps_KHW=in_steps(mixing[:, :rows, :columns].numpy()),
            decoder=self.identity,
            notes=notes,
        )

    @torch.inference_mode()
    def decode(self, codes: Codes) -> DecodedCodes:
        """The picture that codes hold. Raises WeightsError for codes of another network, InputError, DeviceError."""
        self._check_belong(codes)
        rows, columns = codes.codes_KHW.shape[1:]
        self._check_room(rows * codes.stride, columns * codes.stride)
        deep = codes.dtype != np.uint8
        image, notes = self._finite(deep, lambda dtype: self._decoded(codes, dtype))
        return DecodedCodes(image[:, : codes.height, : codes.width], notes)

    def _encoded(self, prepared: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        config, options = self._runner.config, self._runner.options
        height, width = prepared.shape[-2:]
        stride, step = config.latent_stride, config.pad_multiple
        side = _ENCODE_TILE_PX if options.tile in ("auto", "none") else int(options.tile)
        whole = options.tile == "none" or (options.tile == "auto" and config.norm == "group")
        side = max(height, width) if whole else max(step, side // step * step)
        context = _ENCODE_CONTEXT_PX if options.overlap_px is None else int(options.overlap_px)
        grid = (config.num_bases, height // stride, width // stride)
        codes, mixing = torch.empty(grid, dtype=torch.int32), torch.empty(grid)
        for keep, read in _boxes(height, width, side, -(-context // step) * step):
            rows, columns = read.slices
            with self._precision(dtype):
                latent = self._runner.network.encoder(self._on_device(prepared[..., rows, columns])).latent_BCHW
                found = self._runner.network.codebook.encode(latent)
                weights = self._runner.network.codebook.weights(latent).float().cpu()
            if not bool(torch.isfinite(weights).all()):
                return None
            to, inside = keep.scaled(1, stride).slices, _inside(keep, read).scaled(1, stride).slices
            codes[:, *to] = torch.cat(found).cpu().int()[:, *inside]
            mixing[:, *to] = weights[0][:, *inside]
        return codes, mixing

    def _decoded(self, codes: Codes, dtype: torch.dtype) -> Tensor | None:
        config, stride = self._runner.config, codes.stride
        rows, columns = codes.codes_KHW.shape[1:]
        side = max(rows, columns) if config.norm == "group" else _DECODE_TILE_CELLS
        mixing = torch.from_numpy(codes.mixing)[None]
        books = torch.from_numpy(codes.codes_KHW.astype(np.int64))
        image = torch.empty(3, rows * stride, columns * stride)
        for keep, read in _boxes(rows, columns, side, decoder_reach_cells(config)):
            at = read.slices
            chosen = tuple(book[None][:, *at].to(self._runner.device) for book in books)
            with self._precision(dtype):
                latent = self._runner.network.codebook.decode(chosen, mixing[..., *at].to(self._runner.device))
                tile = self._runner.network.render(latent).float().cpu()
            if not bool(torch.isfinite(tile).all()):
                return None
            image[:, *keep.scaled(stride).slices] = tile[0][:, *_inside(keep, read).scaled(stride).slices]
        return image

    def _finite(self, deep: bool, work: Callable[[torch.dtype], T | None]) -> tuple[T, tuple[str, ...]]:
        """What `work` gives in the precision that was asked for, or in float32 where that is not finite."""
        dtype = choose_precision(self._runner.options.precision, self._runner.device, deep=deep)
        for attempt in dict.fromkeys((dtype, torch.float32)):
            result = work(attempt)
            if result is not None:
                note = f"{str(dtype).removeprefix('torch.')} overflowed: computed again in float32"
                return result, () if attempt is dtype else (note,)
        raise InputError(
            "the network's result for this picture is not finite, not even in float32",
            hint="Look for extreme values in the picture (samples are 0 to 1), or use other weights.",
        )

    def _precision(self, dtype: torch.dtype) -> torch.autocast:
        return torch.autocast(self._runner.device.type, dtype, enabled=dtype != torch.float32)

    def _on_device(self, image_BCHW: Tensor) -> Tensor:
        return image_BCHW.to(self._runner.device).contiguous(memory_format=torch.channels_last)

    def _kept(self, height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
        """Of a padded grid, the cells that matter to the picture; with GroupNorm all do."""
        config = self._runner.config
        if config.norm == "group":
            return rows, columns
        touched = (-(-side // config.latent_stride) for side in (height, width))
        rows, columns = (min(n + _MARGIN_CELLS, all_) for n, all_ in zip(touched, (rows, columns), strict=True))
        return rows, columns

    def _check_room(self, height: int, width: int) -> None:
        """Before a picture is taken whole: where memory runs out, Linux ends the program without a word."""
        config = self._runner.config
        if config.norm == "group" and bytes_per_output_pixel(config, 4) * height * width > free_bytes(
            self._runner.device
        ):
            raise DeviceError(
                f"not enough memory for {width}×{height} pixels at once, which these weights need for codes",
                hint="Use the bundled weights, a smaller picture, or close other programs.",
                only_this_picture=True,
            )

    def _check_belong(self, codes: Codes) -> None:
        config, made_with = self._runner.config, codes.decoder
        sizes = tuple(size for size, _ in config.codebooks)
        same_shape = (codes.stride, codes.book_sizes) == (config.latent_stride, sizes)
        if made_with.digest == self.identity.digest and same_shape:
            return
        name = made_with.name
        raise WeightsError(
            f"its codes were made with the weights {name!r} (decoder {made_with.digest.hex()[:12]}), "
            f"and {self.identity.name!r} are others (decoder {self.identity.digest.hex()[:12]})",
            hint=f"Use --weights {name} after `adacode weights pull {name}`; if that is what you use, "
            "they have been trained anew since: install the adacode that wrote the codes.",
            only_this_picture=True,
        )


def decoder_digest(network: AdaCode) -> bytes:
    """16 bytes that tell decoders apart: of configuration and values of all that turns codes into pixels."""
    state, config = network.state_dict(), network.config.to_dict()
    prefixes = tuple(prefix for part in SHARED_PARTS.values() for prefix in part)
    names = ("channels", "grid", "decoder_depth", "head_depth", "norm", "codebooks")
    digest = hashlib.sha256(json.dumps({name: config[name] for name in names}).encode())
    for key in sorted(key for key in state if key.startswith(prefixes)):
        digest.update(key.encode())
        digest.update(state[key].detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return digest.digest()[:_DIGEST_BYTES]


def decoder_reach_cells(config: NetworkConfig) -> int:
    """How many cells away a code can still be seen in a pixel, in networks of convolutions alone."""
    reach = 1 + 2 * config.head_depth
    for _ in config.channels[1:]:
        reach = -(-(reach + 1 + 2 * config.decoder_depth) // 2)  # the stage's convolutions, on the coarser grid
    return reach + 1


def _check_rebuilds_from_codes(config: NetworkConfig, name: str) -> None:
    if config.task != "reconstruct" or config.scale != 1 or config.num_skips or config.base != "none":
        raise WeightsError(
            f"{name} makes its pictures from more than codes", hint="Use weights for reconstruct, such as compact."
        )


def _boxes(height: int, width: int, side: int, context: int) -> Iterator[tuple[Box, Box]]:
    """What is kept of each tile, and what is read for it."""
    return ((keep, keep.grown(context, height, width)) for keep in tiles(height, width, side))


def _inside(keep: Box, read: Box) -> Box:
    """`keep` in the coordinates of `read`."""
    return Box(keep.top - read.top, keep.left - read.left, keep.bottom - read.top, keep.right - read.left)
