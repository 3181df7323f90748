"""A plug-in for spandrel, which chaiNNer, ComfyUI and other programs load networks with.

import adacode_cli.spandrel
adacode_cli.spandrel.install()
model = spandrel.ModelLoader().load_from_file("sr-x4.safetensors")

Two kinds of files are detected: those of `adacode weights export NAME --to single`, and checkpoints in the published
AdaCode layout. spandrel hands over the tensors of a file without its metadata, so an exported file has its
configuration among the tensors, too. Importing this module needs spandrel and torchvision, which adacode does not
install; without them it raises UsageError.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from adacode_cli.checkpoints.format import CONFIG_TENSOR, config_in, own_tensors
from adacode_cli.checkpoints.load import build
from adacode_cli.checkpoints.published import PublishedLayout
from adacode_cli.checkpoints.soundness import as_float32, require_finite
from adacode_cli.errors import UsageError, WeightsError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.input import with_hole
from adacode_cli.model.network import AdaCode

try:
    from spandrel import (
        MAIN_REGISTRY,
        Architecture,
        ArchRegistry,
        ArchSupport,
        ImageModelDescriptor,
        MaskedImageModelDescriptor,
        ModelTiling,
        StateDict,
    )
except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that was built for another torch
    raise UsageError(
        f"spandrel cannot be imported: {error}",
        hint="pip install spandrel torchvision, both for the torch that is installed (docs/export.md).",
    ) from error

# spandrel compares identifiers exactly; its extra architectures may contain one that is called AdaCode.
ARCHITECTURE_ID = "adacode-cli"
# Where errors name a file: spandrel does not say which one it reads.
_SOURCE = Path("the tensors from spandrel")
_PUBLISHED = ("multiscale_encoder.in_conv.weight", "quantize_group.0.embedding.weight", "out_conv.weight")


class AdaCodeArchitecture(Architecture[AdaCode]):  # type: ignore[misc]
    """Networks of adacode for spandrel. `load` raises WeightsError for damaged tensors."""

    def __init__(self) -> None:
        super().__init__(id=ARCHITECTURE_ID, name="AdaCode", detect=is_adacode)

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[AdaCode] | MaskedImageModelDescriptor[AdaCode]:
        """The network in evaluation mode, float32, without gradients.

        It takes images of any size and pads them itself, as `adacode` does, so it states no requirements of sizes.
        """
        config, tensors = _contents(state_dict)
        stored = {key: tensor.cpu() for key, tensor in tensors.items()}
        require_finite(stored, _SOURCE)
        network = build(config, as_float32(stored, _SOURCE), _SOURCE)
        purpose = config.purpose
        shared = {
            "architecture": self,
            "tags": [purpose.label(config.scale), f"{config.num_bases} bases"],
            # Codes are discrete decisions, and the input reaches the output through the network's own type.
            "supports_half": False,
            "supports_bfloat16": False,
            "input_channels": 3,
            "output_channels": 3,
            "tiling": ModelTiling.DISCOURAGED if _looks_across(config) else ModelTiling.SUPPORTED,
        }
        state = network.state_dict()
        if purpose.fills_hole:
            return MaskedImageModelDescriptor(network, state, purpose="Inpainting", call_fn=_filled, **shared)
        kind = "SR" if purpose.enlarges else "Restoration"
        return ImageModelDescriptor(network, state, purpose=kind, scale=config.scale, call_fn=_restored, **shared)


def install(registry: ArchRegistry = MAIN_REGISTRY) -> None:
    """Registers the architecture, once, with all loaders of spandrel or with those of one registry."""
    registry.add(ArchSupport.from_architecture(AdaCodeArchitecture()), ignore_duplicates=True)


def is_adacode(state_dict: Mapping[str, object]) -> bool:
    """Whether these are the tensors of an exported file of adacode, or a complete network in the published layout."""
    if CONFIG_TENSOR in state_dict:
        return True
    if not all(key in state_dict for key in _PUBLISHED):
        return False
    tensors = {key: value for key, value in state_dict.items() if isinstance(value, Tensor)}
    try:
        PublishedLayout(tensors).translated()
    except WeightsError:
        return False
    return True


def _contents(state_dict: Mapping[str, Tensor]) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """The configuration and the tensors of the network, under our names."""
    config = config_in(state_dict)
    if config is not None:
        return config, own_tensors(state_dict)
    layout = PublishedLayout(state_dict)
    return layout.config, layout.translated()


def _looks_across(config: NetworkConfig) -> bool:
    """Whether a part of the image that is computed alone has other results, however much overlaps."""
    return config.norm == "group" or bool(config.swins) or config.encoder_context is not None or config.base == "filled"


@torch.no_grad()
def _restored(network: AdaCode, image_BCHW: Tensor) -> Tensor:
    return network(image_BCHW).image_BCHW  # type: ignore[no-any-return]


@torch.no_grad()
def _filled(network: AdaCode, image_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
    """The image with its hole filled, and every other pixel as it was."""
    mask_B1HW = (mask_B1HW > 0).to(image_BCHW.dtype)  # a feathered mask is a hole as far as it reaches
    restored = network(with_hole(image_BCHW, mask_B1HW, mask_channel=network.config.mask_channel)).image_BCHW
    return torch.where(mask_B1HW > 0, restored, image_BCHW)
