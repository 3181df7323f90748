"""adacode restores photographs with image-adaptive codebooks (arXiv:2306.06513).

    from adacode_cli import Restorer
    enlarged = Restorer.from_pretrained("compact").sr(image, scale=4)

`Restorer` and `Codes` are imported when they are first used, so importing this package does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adacode_cli.errors import AdaCodeError
from adacode_cli.version import __version__

if TYPE_CHECKING:
    from adacode_cli.codes.image import Codes
    from adacode_cli.engine.restorer import Restored, Restorer

__all__ = ["AdaCodeError", "Codes", "Restored", "Restorer", "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (a module's attributes have no common type)
    if name == "Codes":
        from adacode_cli.codes.image import Codes

        return Codes
    if name in ("Restored", "Restorer"):
        from adacode_cli.engine import restorer

        return getattr(restorer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
