"""Perceptual distances of images: LPIPS on SqueezeNet, which is bundled or in a file, the networks of the package
`lpips`, and metrics of `pyiqa`.

One name chooses among them, for losses and for measurements. The two packages print messages when they load; these are
redirected to standard error, because standard output is for data.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from adacode_cli.checkpoints.catalogue_file import weights_folder
from adacode_cli.checkpoints.integrity import verify
from adacode_cli.errors import UsageError, WeightsError, reason
from adacode_cli.model.perceptual import Lpips, even_strength

Device = torch.device | str

BUNDLED = "lpips"
"""The name of the bundled network."""
_BUNDLED_FILE = "lpips.safetensors"
_BUNDLED_SHA256 = "60a56fc13dd59ff9702b93e3266a676189dac0ad692dc9ec640df380ed6362f4"
_PYIQA = "pyiqa:"
# For each trunk in the package: the number of its slices up to a grid of about 1/8, and that map's channels. The paper
# of AdaCode uses relu4_4, which VGG19 has; VGG16, LPIPS's trunk, ends its fourth block with relu4_3.
_SLICES = {"lpips-alex": (2, 192), "lpips-vgg": (4, 512), "lpips-squeeze": (3, 256)}
DIGEST = " sha256:"
"""In the identity of a file, what separates its name and its digest."""
CHOICES = (
    f"{BUNDLED}, a SqueezeNet LPIPS file (.safetensors), {', '.join(_SLICES)}, or {_PYIQA}METRIC such as {_PYIQA}dists"
)
"""The possible names, for messages."""


class PerceptualNetwork(Protocol):
    """Called with x, y (B×3×H×W float RGB in [0, 1]) it gives B distances; 0 for equal images, lower is better.

    Frozen and in evaluation mode. Differentiable in both images, except pyiqa's metrics, which only measure: they
    have no `semantic` map (UsageError), and 0 `semantic_channels`.
    """

    semantic_channels: int

    def __call__(self, x: Tensor, y: Tensor, /) -> Tensor:
        """B distances."""

    def semantic(self, image_BCHW: Tensor, /) -> Tensor:
        """B×3×H×W → B×semantic_channels×h×w, about H/8×W/8, not negative, mean square 1 over each one's channels."""

    def to(self, device: Device, /) -> Self:
        """Moves the network; images must then be on that device."""


def load_perceptual(
    name: str | Path | None, device: Device = "cpu", *, for_training: bool = False
) -> PerceptualNetwork | None:
    """The network on `device` that a name of CHOICES means; None for None and for an empty name.

    `for_training` admits only those with a gradient. Raises UsageError for a missing package and for a metric that is
    no distance of two images, WeightsError for a file of another kind, or for weights that cannot be downloaded.
    """
    if name is None or name == "":
        return None
    text = str(name)
    network: PerceptualNetwork
    if text.startswith(_PYIQA):
        if for_training:
            what = f"{text} has no gradient to train with"
            raise UsageError(what, hint=f"Choose a SqueezeNet LPIPS file or {', '.join(_SLICES)}.")
        return PyiqaDistance(_pyiqa_metric(text, device), text, device)
    if text == BUNDLED:
        return _bundled().to(device)
    network = _package_lpips(text) if text in _SLICES else _from_file(Path(name))
    return network.to(device)


def perceptual_identity(name: str) -> str:
    """A name that identifies the network without the path of its file: the file's name and its SHA-256.

    Raises WeightsError for a file that cannot be read.
    """
    if name in ("", BUNDLED, *_SLICES) or name.startswith(_PYIQA):
        return name
    try:
        return f"{Path(name).name}{DIGEST}{hashlib.sha256(Path(name).read_bytes()).hexdigest()}"
    except OSError as error:
        raise WeightsError(f"cannot be read: {reason(error)}", path=Path(name), hint=f"Choose {CHOICES}.") from error


def same_network(identity: str) -> str:
    """A text that is the same for all identities of one network: a file has any name, and may be the bundled one."""
    digest = identity.rpartition(DIGEST)[2]
    return BUNDLED if digest == _BUNDLED_SHA256 else digest


def perceptual_title(name: str | Path) -> str:
    """What a table calls the distance: the metric's name for pyiqa's, LPIPS for all others."""
    text = str(name)
    return text.removeprefix(_PYIQA).upper() if text.startswith(_PYIQA) else "LPIPS"


class PackageLpips(nn.Module):
    """One of the `lpips` package's networks (Zhang et al. 2018, arXiv:1801.03924); `name` is a key of _SLICES."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self._num_slices, self.semantic_channels = _SLICES[name]
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode for every `mode`, because the heads have dropout."""
        del mode
        return super().train(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """See PerceptualNetwork."""
        distances: Tensor = self.network(x, y, normalize=True)
        return distances.flatten()

    def semantic(self, image_BCHW: Tensor) -> Tensor:
        """See PerceptualNetwork; deeper slices are not computed."""
        network: Any = self.network
        x = network.scaling_layer(image_BCHW * 2 - 1)
        for i in range(self._num_slices):
            x = getattr(network.net, f"slice{i + 1}")(x)
        return even_strength(x)


class PyiqaDistance:
    """One of pyiqa's metrics; its scores carry no gradient."""

    semantic_channels = 0

    def __init__(self, metric: Any, name: str, device: Device) -> None:  # noqa: ANN401 - the package is untyped
        self._metric, self._name, self.device = metric, name, torch.device(device)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """See PerceptualNetwork; x is the restored image, y the original, for metrics that are not symmetric."""
        scores: Tensor = self._metric(x, y)
        return scores.flatten()

    def semantic(self, image_BCHW: Tensor) -> Tensor:
        """Raises UsageError: there is none."""
        del image_BCHW
        raise UsageError(f"{self._name} has no features to train with", hint=f"Choose one of {', '.join(_SLICES)}.")

    def to(self, device: Device) -> Self:
        """Moves the metric."""
        self._metric, self.device = self._metric.to(device), torch.device(device)
        return self


def _bundled() -> Lpips:
    path = weights_folder() / _BUNDLED_FILE
    verify(path, _BUNDLED_SHA256, hint="The installation is damaged: reinstall adacode-cli.")
    return _from_file(path)


def _from_file(path: Path) -> Lpips:
    if not path.exists():
        what = "cannot be read: there is no file and no perceptual network of this name"
        raise WeightsError(what, path=path, hint=f"Give {CHOICES}.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError("cannot be read as safetensors", path=path, hint=f"Give {CHOICES}.") from error
    network = Lpips(tensors).eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _package_lpips(name: str) -> PackageLpips:
    lpips = _package("lpips", name)
    with _loading(name):
        return PackageLpips(lpips.LPIPS(net=name.removeprefix("lpips-"), verbose=False), name)


def _pyiqa_metric(name: str, device: Device) -> Any:  # noqa: ANN401 - the package is optional and untyped
    pyiqa, metric_name = _package("pyiqa", name), name.removeprefix(_PYIQA)
    known = list(pyiqa.list_models(metric_mode="FR"))
    if metric_name not in known:
        what = f"pyiqa has no metric {metric_name!r} that compares with an original"
        raise UsageError(what, hint=f"It has: {', '.join(known)}.")
    with _loading(name):
        metric = pyiqa.create_metric(metric_name, device=torch.device(device))
    if not metric.lower_better:
        what = f"{name} is higher for better images, so it is not a distance"
        raise UsageError(what, hint=f"Choose a distance, such as {_PYIQA}lpips or {_PYIQA}dists.")
    return metric


def _package(package: str, name: str) -> ModuleType:
    try:
        with redirect_stdout(sys.stderr):
            return import_module(package)
    except ImportError as error:
        what = f"{name} needs the package {package}, which cannot be imported ({error})"
        raise UsageError(what, hint=f"pip install {package}") from error


@contextmanager
def _loading(name: str) -> Iterator[None]:
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (OSError, RuntimeError) as error:
        hint = "Its weights are downloaded at the first use: check the connection and the disk, and try again."
        raise WeightsError(f"cannot be loaded: {error}", path=name, hint=hint) from error
