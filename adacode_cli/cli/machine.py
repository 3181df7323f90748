"""What this machine and installation offer, as plain facts; `doctor` shows them."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

from adacode_cli import formats
from adacode_cli.errors import AdaCodeError
from adacode_cli.storage.kinds import KINDS
from adacode_cli.version import __version__

_LIBRARIES = (
    "torch",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "pillow",
    "tifffile",
    "imageio",
    "safetensors",
    "openvino",
    "onnx",
    "onnxruntime",
    "huggingface-hub",
    "typer",
    "rich",
)
Facts = dict[str, Any]


def versions() -> Facts:
    """Of the program, of Python and of the libraries that are installed."""
    found: Facts = {"adacode": __version__, "python": platform.python_version(), "system": platform.platform()}
    optional = (package for format in formats.known() for package in (format.package, format.profile_package))
    for name in (*_LIBRARIES, *filter(None, optional)):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # one of the two OpenCVs is enough, and OpenVINO is optional
            continue
    return found


def image_formats() -> list[Facts]:
    """Every image format.

    missing, missing_for_profiles: the optional package that is not installed, or None: the one that the format needs,
    and the one that only files with an ICC profile need.
    """
    return [
        {
            "name": format.name,
            "title": format.title,
            "suffixes": list(format.suffixes),
            "input_suffixes": list(format.input_suffixes),
            "missing": _unless_installed(format.package),
            "missing_for_profiles": _unless_installed(format.profile_package),
            "install": format.install or None,
        }
        for format in formats.known()
    ]


def _unless_installed(package: str | None) -> str | None:
    try:
        if package is not None:
            metadata.version(package)
    except metadata.PackageNotFoundError:
        return package
    return None


def stores_and_clusters() -> list[Facts]:
    """What `--engine ray` and each kind of store need beside adacode.

    version: of the package; None if it is not installed.
    """
    kinds = dict.fromkeys((kind.title, kind.module, kind.extra) for kind in KINDS.values() if kind.extra)
    return [
        {
            "title": title,
            "package": package,
            "version": None if _unless_installed(package) else metadata.version(package),
            "install": f"pip install 'adacode-cli[{extra}]'",
        }
        for title, package, extra in (*kinds, ("Ray", "ray", "ray"))
    ]


def memory() -> Facts:
    """Main memory in bytes, total and available; empty if the system does not report it."""
    try:
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        return {"total": page * pages, "available": page * os.sysconf("SC_AVPHYS_PAGES")}
    except (AttributeError, OSError, ValueError):
        return {}


def devices() -> list[Facts]:
    """Every device that torch can compute on, with the number types that it computes in natively, and the precision
    that auto takes for images of 8 bits. bf16 that is slower than float32 does not count.
    """
    import torch

    from adacode_cli.engine.device import computes_bf16

    found = [_cpu()]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        precision = {"fp32": True, "bf16": computes_bf16(torch.device("cuda", index)), "fp16": True, "int8": False}
        name = torch.cuda.get_device_name(index)
        found.append(
            {
                "device": f"cuda:{index}",
                "name": name,
                "memory": total,
                "free": free,
                **_precisions(f"cuda:{index}", precision),
            }
        )
    if torch.backends.mps.is_available():
        precision = {"fp32": True, "bf16": computes_bf16(torch.device("mps")), "fp16": True, "int8": False}
        found.append({"device": "mps", "name": "Apple GPU", **_precisions("mps", precision)})
    return found


def _precisions(name: str, native: Facts) -> Facts:
    """native, and the precision that auto takes for images of 8 bits, with weights that do not state how near their
    images in 8 bits are, and with weights that state that they are near.
    """
    import torch

    from adacode_cli.engine.device import choose_precision, name_of
    from adacode_cli.model.ranges import VISIBLE_DB

    def chosen(int8_psnr_db: float | None) -> str:
        return name_of(choose_precision("auto", torch.device(name), deep=False, int8_psnr_db=int8_psnr_db))

    return {"native": native, "auto": chosen(None), "auto_with_ranges": chosen(VISIBLE_DB)}


def device(name: str) -> Facts:
    """The entry of `devices` for torch's name of a device ("cuda" is the first one), or the name alone."""
    known = {facts["device"]: facts for facts in devices()}
    return known.get(name) or known.get(f"{name}:0") or {"device": name, "name": name}


def _cpu() -> Facts:
    import torch

    from adacode_cli.engine.device import computes_bf16, has_dot_products

    # Public since about torch 2.11; before that, only the name of the instruction set is known.
    get_capabilities = getattr(torch.cpu, "get_capabilities", None)
    flags: Facts = get_capabilities() if get_capabilities else {}
    native = {
        "fp32": True,
        "bf16": computes_bf16(torch.device("cpu")),
        "fp16": any(flags.get(flag) for flag in ("amx_fp16", "avx512_fp16", "fp16")) if flags else None,
        "int8": has_dot_products() if flags else None,
    }
    return {
        "device": "cpu",
        "name": flags.get("cpu_name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        **_precisions("cpu", native),
    }


def weights(hub_repo: str | None) -> list[Facts]:
    """Every catalogue entry: where its files are, and for bundled ones whether their digests are right."""
    from adacode_cli.checkpoints import catalogue_file, store

    catalogue = catalogue_file.load()
    found = []
    for entry in catalogue.entries:
        facts: Facts = {"name": entry.name, "kind": entry.kind, "problem": None}
        try:
            facts["state"] = store.state(entry, catalogue, hub_repo=hub_repo)
            if entry.kind == "bundled":
                store.resolve(entry, catalogue, convert=_never, allow_download=False, hub_repo=hub_repo)
        except AdaCodeError as error:
            facts["problem"] = str(error)
        found.append(facts)
    return found


def places(hub_repo: str | None) -> Facts:
    """Where weights are looked for and kept. It reports whether there is a token, never the token itself."""
    from huggingface_hub import constants

    from adacode_cli.checkpoints import catalogue_file, hub

    repository = hub.repository(hub_repo, catalogue_file.load().hub_repo)
    return {
        "bundled": str(catalogue_file.weights_folder()),
        "cache": _cache(),
        "hub_cache": constants.HF_HUB_CACHE,
        "hub_endpoint": constants.ENDPOINT,
        "hub_offline": bool(constants.is_offline_mode()),
        "hub_repo": repository.repo if repository else None,
        "hub_token": _has_token(),
    }


def _cache() -> str | None:
    from adacode_cli.checkpoints import cache

    try:
        return str(cache.cache_dir())
    except AdaCodeError:  # there is no home directory; storing weights reports this as an error
        return None


def _has_token() -> bool:
    from huggingface_hub import get_token

    try:
        return get_token() is not None
    except OSError:  # the file of the token cannot be read, so the token is not used
        return False


def _never(_source: object, _target: object) -> None:
    raise AssertionError("bundled weights need no conversion")
