"""Degraded copies of photographs: BSRGAN (Zhang et al., ICCV 2021, arXiv:2103.14006), one by one or in batches.

`chain` chooses the steps and their order, for both; `on_cpu` applies them to one image with OpenCV, `on_device` to a
batch on any device of torch. Both give the same statistics.
"""

from __future__ import annotations

from adacode_cli.training.degradation.chain import gaussian_kernel
from adacode_cli.training.degradation.on_cpu import degrade, degrade_with_margin
from adacode_cli.training.degradation.on_device import degrade_batch, degrade_batch_with_margin
from adacode_cli.training.degradation.settings import MARGIN, MODERATE, PUBLISHED, DegradationSettings

__all__ = [
    "MARGIN",
    "MODERATE",
    "PUBLISHED",
    "DegradationSettings",
    "degrade",
    "degrade_batch",
    "degrade_batch_with_margin",
    "degrade_with_margin",
    "gaussian_kernel",
]
