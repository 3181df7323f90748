"""Every size and choice of the network in one frozen value, which is stored in files of weights.

The same classes build the published networks (hundreds of megabytes) and the small ones that are included in the tool;
only this configuration differs between them.
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass, fields
from math import lcm, prod
from reprlib import repr as shown  # of a file's values, which may be long
from typing import Any, Literal, get_args

from adacode_cli.errors import WeightsError
from adacode_cli.limits import MAX_CODE_LEVELS
from adacode_cli.tasks import BASIS, TASKS, Task

Stem = Literal["conv4", "shuffle"]
Norm = Literal["group", "none"]
Skip = Literal["none", "add", "fuse"]
Base = Literal["none", "upsampled", "nearest", "filled"]

# Attention has a table of every pair of cells in a window, and images are padded to whole latent cells.
_MAX_WINDOW, _MAX_STRIDE = 32, 4096
PAPER_CATEGORIES = ("architecture", "indoor", "nature", "street", "portrait")


@dataclass(frozen=True)
class SwinConfig:
    """A stack of residual groups of shifted-window attention blocks (Liu et al. 2021, arXiv:2103.14030)."""

    groups: int = 4
    blocks: int = 6
    heads: int = 8
    window: int = 8
    mlp_ratio: int = 4


@dataclass(frozen=True)
class ContextConfig:
    """Large depthwise kernels on half the latent grid (`model.context`).

    channels: of that grid. blocks: number of residual blocks. kernel: side of their depthwise kernels, odd.
    """

    channels: int = 192
    blocks: int = 6
    kernel: int = 9
    mlp_ratio: int = 2


@dataclass(frozen=True)
class DecoderConfig:
    """Residual blocks of a decoder: on the latent grid, in each stage, and before the last convolution of its head."""

    latent_depth: int = 4
    depth: int = 10
    head_depth: int = 2


@dataclass(frozen=True)
class ResidualConfig:
    """Further levels of codes: each quantises what the levels before it left, with the same bases (residual
    quantisation, Lee et al. 2022, arXiv:2203.01941).

    levels: number of levels, with the first. scale: of a level's codes against those of the level before it, because
    what is left is smaller.
    """

    levels: int = 2
    scale: float = 0.35

    @property
    def scales(self) -> tuple[float, ...]:
        """Factor of the codes of each level, 1 for the first."""
        return tuple(self.scale**level for level in range(self.levels))


@dataclass(frozen=True)
class TrunkConfig:
    """A sequence of 3×3 convolutions on the finest grid, of which the codes are a branch (`model.network.Trunk`).

    depth: number of convolutions. tap: number of convolutions before the branch begins; join: number before its map is
    added. The defaults are the shape of realesr-general-x4v3 (Wang et al. 2021, arXiv:2107.10833). shuffle: side
    in output pixels of what a position of the trunk becomes; None: the network's `grid`.
    """

    depth: int = 34
    tap: int = 12
    join: int = 20
    shuffle: int | None = None


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of one AdaCode network. Levels run from the finest feature grid (0) to the latent grid (last).

    task: a name of `tasks.TASKS`, or that of BASIS.
    scale: factor between input and output sides.
    channels: feature channels of each level; level l has cells of `cell_px * 2**l` output pixels a side.
    grid: side in output pixels of a finest cell of the decoder's head, which ends in a pixel shuffle if that is more
        than 1 (published: 1). A trunk can give the same cell another size: `cell_px`.
    stem: "conv4" is the published 4×4 convolution, whose result is one row and one column smaller; "shuffle" packs
        input pixels into the finest grid, before a 3×3 convolution.
    stem_depth, encoder_depth, up_depth, decoder_depth, fuse_depth, head_depth: residual blocks after the stem, in
        each down block, encoder up block, decoder stage, skip fusion, and before the last convolution.
    norm: "group" is the published GroupNorm(32); "none" has no normalisation, so that a tile with a halo
        gives what the whole image would.
    skip: what the first `num_skips` decoder stages pass on: their own map ("none"), its sum with the encoder's map
        ("add", published stage III), or a learnt fusion of the two ("fuse").
    trunk: convolutions that restore the image themselves, with the codes as a branch; they replace the stem.
    encoder_context: convolutions that look far, on half the latent grid, before the encoder's attention.
    own_decoder: makes images of the task's codes in place of the decoder that the tasks of a family share, so that it
        can be trained further without them.
    base: image that the network's output is added to: nothing, the input enlarged by bicubic interpolation
        ("upsampled") or by repetition ("nearest"), or the input with its holes interpolated (which needs the mask
        channel).
    mask_channel: the hole mask is a fourth input channel.
    coarse_passes: how often the image is halved before holes are filled, each result filling the holes of the
        next larger size; 0: holes are filled smoothly from their surroundings.
    codebooks: (number of codes, code dimension) of each basis; categories: its names.
    residual: further levels of codes, of a network that makes images from codes alone.
    softmax: mixing weights sum to one (an option of the paper, section 3.2); the published models use raw values.
    uniform: every basis has the same weight everywhere and nothing is predicted, to measure the effect of prediction.
    """

    task: str
    scale: int = 1
    channels: tuple[int, ...] = (64, 128, 256, 256)
    grid: int = 1
    stem: Stem = "conv4"
    stem_depth: int = 0
    encoder_depth: int = 2
    up_depth: int = 2
    decoder_depth: int = 2
    fuse_depth: int = 0
    head_depth: int = 0
    norm: Norm = "group"
    skip: Skip = "none"
    num_skips: int = 0
    trunk: TrunkConfig | None = None
    own_decoder: DecoderConfig | None = None
    base: Base = "none"
    mask_channel: bool = False
    coarse_passes: int = 0
    encoder_context: ContextConfig | None = None
    encoder_swin: SwinConfig | None = None
    predictor_swin: SwinConfig | None = None
    codebooks: tuple[tuple[int, int], ...] = ((256, 256),)
    categories: tuple[str, ...] = ()
    residual: ResidualConfig | None = None
    softmax: bool = False
    uniform: bool = False

    def __post_init__(self) -> None:
        # Relations between fields are checked only if each field is valid.
        problems = [text for wrong, text in self._fields() if wrong]
        problems = problems or [text for wrong, text in self._relations() if wrong]
        if problems:
            raise WeightsError("this network configuration is impossible: " + "; ".join(problems))

    def _fields(self) -> list[tuple[bool, str]]:
        names = [f.name for f in fields(self) if f.name.endswith("_depth")] + ["num_skips", "coarse_passes"]
        counts = {name: getattr(self, name) for name in names}
        sizes = [*self.channels, *(n for book in self.codebooks for n in book)]
        sizes += [n for swin in self.swins for n in astuple(swin)]
        sizes += astuple(self.encoder_context) if self.encoder_context else ()
        if self.trunk:
            own, shuffle = (self.trunk.depth, self.trunk.tap, self.trunk.join), self.trunk.shuffle
            sizes += own if shuffle is None else (*own, shuffle)
        if self.own_decoder:
            counts |= {f"own_decoder.{name}": depth for name, depth in asdict(self.own_decoder).items()}
        choices = {"stem": Stem, "norm": Norm, "skip": Skip, "base": Base}
        return [
            (self.task not in (BASIS.name, *TASKS), f"unknown task {shown(self.task)}"),
            *(
                (getattr(self, name) not in get_args(known), f"unknown {name} {shown(getattr(self, name))}")
                for name, known in choices.items()
            ),
            (self.scale not in (1, 2, 4), f"scale {shown(self.scale)} is not 1, 2 or 4"),
            (self.grid not in (1, 2, 4, 8), f"grid {shown(self.grid)} is not a power of two up to 8"),
            (
                not all(_is_whole(n, 1) for n in (*sizes, self.scale, self.grid)),
                "a size is not a positive whole number",
            ),
            *((not _is_whole(n, 0), f"{name} {shown(n)} is not a whole number") for name, n in counts.items()),
            *(
                (not isinstance(getattr(self, name), bool), f"{name} is neither true nor false")
                for name in ("mask_channel", "softmax", "uniform")
            ),
            (not all(isinstance(name, str) for name in self.categories), "a category's name is not a text"),
            (len(self.channels) < 2, "fewer than two levels"),
            (not self.codebooks, "no codebook"),
            *self._residual_fields(),
        ]

    def _residual_fields(self) -> list[tuple[bool, str]]:
        if (residual := self.residual) is None:
            return []
        levels, scale = residual.levels, residual.scale
        return [
            (not _is_whole(levels, 2) or levels > MAX_CODE_LEVELS, f"residual codes of {shown(levels)} levels"),
            (not isinstance(scale, float) or not 0 < scale <= 1, f"residual codes of scale {shown(scale)}"),
        ]

    def _relations(self) -> list[tuple[bool, str]]:
        num_levels, latent = len(self.channels), self.channels[-1]
        context = self.encoder_context
        unmatched = bool(self.categories) and len(self.categories) != len(self.codebooks)
        return [
            (any(swin.window > _MAX_WINDOW for swin in self.swins), f"a window of more than {_MAX_WINDOW} cells"),
            (num_levels > _MAX_STRIDE or self.latent_stride > _MAX_STRIDE, f"cells of over {_MAX_STRIDE} pixels"),
            (self.own_decoder is not None and not self.is_of_codes_alone, "only codes have a decoder of their own"),
            (self.residual is not None and not self.is_of_codes_alone, "only codes alone have further levels"),
            (context is not None and context.kernel % 2 == 0, "the side of a context kernel is even"),
            (self.task == BASIS.name and len(self.codebooks) != 1, "a basis network has exactly one codebook"),
            (unmatched, "categories do not match codebooks"),
            (self.uniform and (self.softmax or self.predictor_swin is not None), "uniform weights are not predicted"),
            (self.num_skips >= num_levels, "more skips than decoder stages"),
            *self._trunk_relations(),
            ((self.skip == "none") != (self.num_skips == 0), "skip and num_skips contradict each other"),
            (
                self.stem == "shuffle" and self.scale > self.cell_px,
                "a shuffle stem needs scale <= grid",
            ),
            (self.stem == "conv4" and self.grid != 1, "a conv4 stem needs grid 1"),
            (self.input_level >= num_levels - 1, f"scale {self.scale} needs more levels"),
            (self.base == "filled" and not self.mask_channel, "filled holes need a mask channel"),
            (self.coarse_passes > 0 and self.base != "filled", "only holes are filled in coarse passes"),
            (any(latent % swin.heads for swin in self.swins), "latent channels are not a multiple of the heads"),
            (self.norm == "group" and any(c % 32 for c in self.channels), "GroupNorm needs multiples of 32 channels"),
        ]

    def _trunk_relations(self) -> list[tuple[bool, str]]:
        if self.trunk is None:
            return []
        t = self.trunk
        return [
            (not t.tap <= t.join < t.depth, "a trunk needs tap <= join < depth"),
            (self.stem != "shuffle" or self.norm != "none", "a trunk needs a shuffle stem and no normalisation"),
            (self.num_skips > 0 or self.stem_depth > 0, "a trunk replaces the stem's blocks and the skips"),
            (not self.purpose.enlarges or self.mask_channel, "a trunk is for super-resolution"),
            (self.cell_px not in (1, 2, 4, 8), f"shuffle {self.cell_px} is not a power of two up to 8"),
        ]

    @property
    def purpose(self) -> Task:
        """What the network is for."""
        return TASKS.get(self.task, BASIS)

    @property
    def swins(self) -> list[SwinConfig]:
        """The stacks of attention that the network has: the encoder's, then the predictor's."""
        return [swin for swin in (self.encoder_swin, self.predictor_swin) if swin]

    @property
    def is_of_codes_alone(self) -> bool:
        """Whether images are made from codes and mixing weights, at the size of the input, and from nothing else."""
        return self.purpose.from_codes and self.scale == 1 and not self.num_skips and self.base == "none"

    @property
    def num_bases(self) -> int:
        return len(self.codebooks)

    @property
    def book_sizes(self) -> tuple[int, ...]:
        """Number of codes in the basis of each plane of codes: all bases, for one level after the other."""
        return tuple(size for size, _ in self.codebooks) * len(self.code_scales)

    @property
    def code_scales(self) -> tuple[float, ...]:
        """Factor of the codes of each level."""
        return self.residual.scales if self.residual else (1.0,)

    @property
    def min_layers(self) -> int:
        """A lower bound of the number of layers, each with at least one tensor: residual blocks, attention blocks, the
        trunk's convolutions, and one convolution for each level and codebook.
        """
        steps = len(self.channels) - 1
        fused = self.fuse_depth if self.skip == "fuse" else 0
        blocks = (
            self.stem_depth + self.head_depth + steps * self.decoder_depth + self.num_skips * (self.up_depth + fused)
        )
        blocks += (steps - self.input_level) * self.encoder_depth
        blocks += sum(prod((swin.groups, swin.blocks)) for swin in self.swins) + (self.trunk.depth if self.trunk else 0)
        blocks += self.encoder_context.blocks if self.encoder_context else 0
        if own := self.own_decoder:
            blocks += own.latent_depth + steps * own.depth + own.head_depth
        return steps + len(self.codebooks) + blocks

    @property
    def cell_px(self) -> int:
        """Side in output pixels of one cell of the finest level."""
        return self.trunk.shuffle if self.trunk and self.trunk.shuffle else self.grid

    @property
    def latent_stride(self) -> int:
        """Side in output pixels of one latent cell."""
        return int(self.cell_px * 2 ** (len(self.channels) - 1))

    @property
    def decoded_stride(self) -> int:
        """Side in pixels of one latent cell in the image that the decoder and its head make of codes alone."""
        return int(self.grid * 2 ** (len(self.channels) - 1))

    @property
    def input_level(self) -> int:
        """Level on whose grid the stem's output lies."""
        return 0 if self.stem == "shuffle" else self.scale.bit_length() - 1

    @property
    def in_channels(self) -> int:
        return 4 if self.mask_channel else 3

    @property
    def pad_multiple(self) -> int:
        """Padded sides are multiples of this many input pixels: whole windows, or 8 latent cells without windows; with
        a context an even number of cells.
        """
        window = lcm(2 if self.encoder_context else 1, *(swin.window for swin in self.swins)) if self.swins else 8
        return max(1, self.latent_stride * window // self.scale)

    def names(self) -> tuple[str, ...]:
        """A name for each basis: its category where known."""
        return self.categories or tuple(f"basis {k + 1}" for k in range(self.num_bases))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `from_dict` restores an equal value.

        Groups that came after the first files are left out where a network lacks them: files and digests of such
        networks stay as they were.
        """
        return {name: value for name, value in asdict(self).items() if value is not None or name not in _LATER}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkConfig:
        """Inverse of `to_dict`. Raises WeightsError for unknown or missing fields."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            what = f"unknown configuration fields: {', '.join(name[:40] for name in sorted(unknown)[:8])}"
            raise WeightsError(what, hint="These weights need a newer adacode.")
        v = dict(values)
        try:
            for key, part in _GROUPS.items():
                if v.get(key) is not None:
                    v[key] = part(**v[key])
            for key in ("channels", "categories"):
                if key in v:
                    v[key] = tuple(v[key])
            if "codebooks" in v:
                v["codebooks"] = tuple((n, d) for n, d in v["codebooks"])
            return cls(**v)
        except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise WeightsError(f"the configuration cannot be read: {error}") from error


# The groups of settings that a network may lack, by field.
_GROUPS: dict[str, type[Any]] = {
    "encoder_swin": SwinConfig,
    "predictor_swin": SwinConfig,
    "trunk": TrunkConfig,
    "encoder_context": ContextConfig,
    "own_decoder": DecoderConfig,
    "residual": ResidualConfig,
}
_LATER = ("encoder_context", "own_decoder", "residual")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
