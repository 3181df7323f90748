"""What `adacode bench` tells: lines for a person, one object for a program (documented in docs/json.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from adacode_cli.cli import bench_profile_text, machine
from adacode_cli.cli.machine import Facts
from adacode_cli.cli.stderr import printable

if TYPE_CHECKING:
    from adacode_cli.benchmark.speed import Pass
    from adacode_cli.benchmark.whole import BenchSettings, Measurements

_ARCHIVE = 10_000
# In a shorter run the start of the decoding processes counts for too much to reckon with.
_SHORT_S = 5.0


def json_object(settings: BenchSettings, found: Measurements) -> dict[str, object]:
    """All figures, unrounded; keys and meanings as docs/json.md has them."""
    return {
        "version": 1,
        "machine": machine.device(found.device),
        "programs": _programs(),
        "task": "sr",
        "scale": settings.scale,
        "weights": settings.weights,
        "side": settings.side,
        "ceilings": [asdict(one) for one in found.ceilings],
        "yardstick_seconds": found.yardstick_seconds,
        "passes": [asdict(one) | {"psnr_db": _finite(one.psnr_db)} for one in found.passes],
        "growth": [asdict(one) for one in found.growth],
        "files": found.files and asdict(found.files),
        "profile": found.profile and bench_profile_text.json_object(found.profile),
    }


def lines(settings: BenchSettings, found: Measurements) -> Iterator[str]:
    """What was measured on what, the passes of the network, and what that means for files."""
    device, programs = machine.device(found.device), _programs()
    about = f", {device['cores']} cores, {device['threads']} threads, {device['instructions']}"
    yield f"{device['device']}: {device['name']}{about if 'cores' in device else ''}"
    yield ", ".join(f"{name} {version}" for name, version in programs.items())
    for most in found.ceilings:
        rates = f"matrices {most.matrices:.0f}, convolutions {most.convolutions:.0f}"
        yield f"GFLOP/s at most in {most.precision}: {rates}"
    yield ""
    large = settings.side * settings.scale
    yield f"{printable(settings.weights)}, {settings.side}×{settings.side} → {large}×{large}"
    yield f"  {'':<10}{'seconds':>9}{'ratio':>8}{'GFLOP/s':>9}{'PSNR':>8}"
    yield from (_pass(one) for one in found.passes)
    yield f"  {'yardstick':<10}{found.yardstick_seconds:>9.3f}"
    if found.growth:
        yield ""
        yield f"  {'output':<10}{'seconds':>9}{'a MP':>8}{'to 1 MP':>9}"
    for one in found.growth:
        size = f"{one.megapixels} MP"
        yield f"  {size:<10}{one.seconds:>9.1f}{one.seconds_per_megapixel:>8.3f}{one.to_first:>9.2f}"
    if found.files:
        yield ""
        yield from _files(settings, found)
    if found.profile:
        yield ""
        yield from bench_profile_text.lines(found.profile)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _pass(one: Pass) -> str:
    likeness = "" if one.psnr_db is None else f"{one.psnr_db:>8.1f}"
    return f"  {one.name:<10}{one.seconds:>9.3f}{one.ratio:>8.2f}{one.gflop_per_s:>9.0f}{likeness}"


def _files(settings: BenchSettings, found: Measurements) -> Iterator[str]:
    files = found.files
    assert files is not None
    yield (
        f"{files.count} JPEGs of {files.megapixels:.2g} MP: engine {files.engine_seconds:.1f} s, "
        f"whole run {files.run_seconds:.1f} s, {files.ratio:.2f} times the engine"
    )
    if files.run_seconds > _SHORT_S:
        hours = files.run_seconds / (files.count * files.megapixels) * _ARCHIVE / 3600
        yield f"at this speed {_ARCHIVE} photographs of 1 MP, ×{settings.scale}, take {hours:.1f} hours"


def _programs() -> Facts:
    versions = machine.versions()
    return {name: versions[name] for name in ("adacode", "python", "torch")}
