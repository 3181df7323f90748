"""How much memory there is to plan with: what is free on the device, within the limits of the container.

What is planned here may be wrong, because other programs run too; `engine.tiled` halves a tile that did not fit.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path

import cv2
import torch

# Fallback where the system does not tell (not Linux).
UNKNOWN_BYTES = 4 << 30
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
# Names of a group's limit, of its use, and of the part of its use that the kernel gives up when asked.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")

# Beside allocators that say so, oneDNN fails without a reason where it finds no room for its scratch space. A
# primitive *descriptor* that cannot be created is something else: an operation that it does not have.
_SIGNS = re.compile(
    r"out of memory|can't allocate memory|not enough memory|bad_alloc|_alloc_failed|"
    r"could not (create|execute) a primitive(?! descriptor)|could not create a memory",
    re.IGNORECASE,
)

_FAILURE = re.compile(r"(CUDA|HIP|cuDNN|NVML) error|CUBLAS_STATUS_|CUDNN_STATUS_|device-side assert", re.IGNORECASE)


def free_bytes(device: torch.device) -> int:
    """Bytes that the device can still give; for the CPU the least of free memory and the room of its cgroups."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        # What the allocator keeps from earlier tiles counts as used there, yet the next tile gets it.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        limit = _share_allowed(device) * total
        return int(min(free, limit - torch.cuda.memory_allocated(device)))
    if device.type == "mps":
        return max(0, int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()))
    return min((b for b in (_available(), cgroup_room(_CGROUP, _OWN_CGROUPS)) if b is not None), default=UNKNOWN_BYTES)


def _share_allowed(device: torch.device) -> float:
    """The part of a CUDA device that this process may take (`torch.cuda.set_per_process_memory_fraction`)."""
    ask = getattr(torch.cuda, "get_per_process_memory_fraction", None)  # younger than the oldest torch that is allowed
    # It wants an index, which plain "cuda" has not.
    return 1.0 if ask is None else float(ask(torch.cuda.current_device() if device.index is None else device.index))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: on a GPU, in torch's CPU allocator, NumPy, oneDNN or OpenCV."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, cv2.error):
        return error.code == cv2.Error.StsNoMem
    return isinstance(error, RuntimeError) and _SIGNS.search(str(error)) is not None


def is_device_failure(error: BaseException | None) -> bool:
    """Whether an exception says that a GPU has stopped working, for this process at least; not for lack of memory."""
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    kind = getattr(torch, "AcceleratorError", None)  # younger than the oldest torch that is allowed
    return (kind is not None and isinstance(error, kind)) or _FAILURE.search(str(error)) is not None


def release(device: torch.device) -> None:
    """Hands cached blocks back, of the device and of the C library, so that what comes next finds them.

    For when memory ran out: a GPU finishes all its work first.
    """
    trim_heap()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def trim_heap() -> None:
    """Hands free blocks of the C library back; between two maps in host memory.

    glibc keeps what was freed between two blocks in use: 200 MB after the encoder of a picture of 8 megapixels.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)


def cgroup_room(mount: Path, membership: Path) -> int | None:
    """Bytes left in the tightest memory cgroup (version 1 or 2) around this process; None where there is none.

    `mount` is where cgroups are mounted, `membership` lists the groups of the process as /proc/self/cgroup does.
    Inside a container the listed path may be the host's; then only the group at the mount itself is there to read.
    """
    rooms = []
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, names = (mount / "memory", _V1) if controllers else (mount, _V2)
        group = base / path.lstrip("/")
        inside = (g for g in (group, *group.parents) if g.is_relative_to(base))
        rooms += [room for g in inside if (room := _room(g, *names)) is not None]
    return min(rooms, default=None)


def _room(group: Path, limit_name: str, used_name: str, cache_name: str) -> int | None:
    limit, used = _text(group / limit_name).strip(), _text(group / used_name).strip()
    if not (limit.isdecimal() and used.isdecimal()):  # absent, or "max"
        return None
    cache = re.search(rf"^{cache_name} (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
    return max(0, int(limit) - int(used) + (int(cache[1]) if cache else 0))


def _available() -> int | None:
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE)
    if found:
        return int(found[1]) << 10
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 2 if pages > 0 else None


def _text(path: Path) -> str:
    """The file's text, or nothing where there is no such file to read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
