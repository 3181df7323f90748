"""How much memory can be planned: the free memory of the device, within the limits of container and process.

A plan may turn out to be wrong, because other programs run too; then `engine.tiled` halves a tile that did not fit.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from adacode_cli.errors import DeviceError

if sys.platform.startswith("linux"):
    import resource

# Fallback where the system does not report it (not Linux).
UNKNOWN_BYTES = 4 << 30
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_ARC = Path("/proc/spl/kstat/zfs/arcstats")
# Names of a group's limit, of its use, and of the parts of its use that the kernel frees on demand. Free memory of
# the machine (MemAvailable) counts the same parts.
_V2 = ("memory.max", "memory.current", r"(?:inactive_file|active_file|slab_reclaimable)")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", r"total_(?:inactive|active)_file")

# Allocators report a lack of memory; oneDNN fails without a reason if there is no room for its scratch space. A
# primitive *descriptor* that cannot be created is another error: oneDNN lacks the operation.
_SIGNS = re.compile(
    r"out of memory|can't allocate memory|not enough memory|bad_alloc|_alloc_failed|"
    r"could not (create|execute) a primitive(?! descriptor)|could not create a memory",
    re.IGNORECASE,
)

_FAILURE = re.compile(r"(CUDA|HIP|cuDNN|NVML) error|CUBLAS_STATUS_|CUDNN_STATUS_|device-side assert", re.IGNORECASE)


class _HeapState(ctypes.Structure):
    """What glibc's `mallinfo2` returns; `fordblks` are the bytes that were freed and are kept for later."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()  # noqa: SIM905
    )


def free_bytes(device: torch.device) -> int:
    """Bytes that the device can still give; for the CPU the least of free memory, the room of its cgroups (of both, the
    part of this process, see `divide_host`), and what the limits of the process (RLIMIT_AS, RLIMIT_DATA) leave.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        # Memory that the allocator keeps from earlier tiles counts as used there, but the next tile can use it.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        limit = _share_allowed(device) * total
        return int(min(free, limit - torch.cuda.memory_allocated(device)))
    if device.type == "mps":
        return max(0, int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()))
    found = _least(_part(_available()), _part(cgroup_room(_CGROUP, _OWN_CGROUPS)), _room_of_process())
    return UNKNOWN_BYTES // _host.processes if found is None else found


@dataclass
class _Host:
    """How many processes plan with the memory of the host at the same time."""

    processes: int = 1


_host = _Host()


def divide_host(processes: int) -> None:
    """From now on, this process plans with its part of the host's free memory, because so many plan with it."""
    _host.processes = processes


def obtainable_bytes(device: torch.device) -> int | None:
    """The most that the device could give: what is free once caches were handed back, for the CPU with free swap; of
    the memory of the host, the part of this process (see `divide_host`).

    None if the system does not report it. A GPU finishes all its work first.
    """
    if device.type not in ("cpu", "cuda"):  # others report a recommended size, and can give more
        return None
    release(device)
    if device.type == "cuda":
        return free_bytes(device)
    if not sys.platform.startswith("linux"):
        return _physical_bytes()
    swap = _meminfo("SwapFree") or 0
    machine = _machine_room()
    of_machine = None if machine is None else machine + swap
    return _least(_part(of_machine), _part(cgroup_room(_CGROUP, _OWN_CGROUPS, swap)), _room_of_process())


def _part(room: int | None) -> int | None:
    """Of memory that all processes of a run share, the part of this one."""
    return None if room is None else room // _host.processes


def _least(*rooms: int | None) -> int | None:
    return min((room for room in rooms if room is not None), default=None)


def _share_allowed(device: torch.device) -> float:
    """The part of a CUDA device that this process may take (`torch.cuda.set_per_process_memory_fraction`)."""
    ask = getattr(torch.cuda, "get_per_process_memory_fraction", None)  # newer than the oldest supported torch
    # It needs an index, which plain "cuda" lacks.
    return 1.0 if ask is None else float(ask(torch.cuda.current_device() if device.index is None else device.index))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out: on a GPU, in torch's CPU allocator, NumPy, oneDNN or OpenCV."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, cv2.error):
        return error.code == cv2.Error.StsNoMem
    return isinstance(error, RuntimeError) and _SIGNS.search(str(error)) is not None


def is_device_failure(error: BaseException | None) -> bool:
    """Whether an exception means that a GPU has failed, at least for this process; not for lack of memory."""
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    kind = getattr(torch, "AcceleratorError", None)  # newer than the oldest supported torch
    return (kind is not None and isinstance(error, kind)) or _FAILURE.search(str(error)) is not None


@contextmanager
def working(height: int, width: int) -> Iterator[None]:
    """Translates exceptions to DeviceError: too little memory for the whole image, or a device that has failed.
    `tiled` handles a lack of memory for tiles.
    """
    try:
        yield
    except (RuntimeError, MemoryError, cv2.error) as error:
        if any(is_device_failure(one) for one in (error, error.__cause__)):  # in a batch it is the cause
            hint = "Run the same command again, which restores the rest; if the error returns, use --device cpu."
            why = str(error.__cause__ or error).splitlines()[0]
            raise DeviceError(f"the device has stopped working: {why}", hint=hint) from error
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            f"out of memory for an image of {width}×{height} pixels, even with the smallest tiles",
            hint="Cut the image, choose a smaller size, or close other programs.",
            only_this_image=True,
        ) from error


@contextmanager
def loading() -> Iterator[None]:
    """Translates exceptions to DeviceError: too little memory for the network itself."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "Close other programs, or use smaller weights."
        raise DeviceError("out of memory while the weights were loaded", hint=hint) from error


def release(device: torch.device) -> None:
    """Frees the cached blocks of the device and of the C library.

    Use it after memory ran out: a GPU finishes all its work first.
    """
    trim_heap()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def trim_heap() -> None:
    """Returns free blocks of the C library to the system; used between two maps in host memory.

    glibc keeps what was freed between two blocks in use: 200 MB after the encoder of an image of 8 megapixels.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)


def cgroup_room(mount: Path, membership: Path, swap: int = 0) -> int | None:
    """Bytes left in the tightest memory cgroup (version 1 or 2) around this process; None where there is none.

    `swap` bytes count too, as far as the group may use them.
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
        rooms += [room + _swap_of(g, swap) for g in inside if (room := _room(g, *names)) is not None]
    return min(rooms, default=None)


def _room(group: Path, limit_name: str, used_name: str, cache_names: str) -> int | None:
    limit, used = _text(group / limit_name).strip(), _text(group / used_name).strip()
    if not (limit.isdecimal() and used.isdecimal()):  # absent, or "max"
        return None
    cache = re.findall(rf"^{cache_names} (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
    return max(0, int(limit) - int(used) + sum(map(int, cache)))


def _swap_of(group: Path, swap: int) -> int:
    """Of `swap` bytes, those that a group may use; version 1 does not limit them alone."""
    limit, used = (_text(group / f"memory.swap.{name}").strip() for name in ("max", "current"))
    return min(swap, max(0, int(limit) - int(used))) if limit.isdecimal() and used.isdecimal() else swap


def _room_of_process() -> int | None:
    """Bytes that this process may still ask for (RLIMIT_AS, RLIMIT_DATA); None where neither is set."""
    if not sys.platform.startswith("linux"):
        return None
    rooms, status = [], ""
    for limit, field in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most, _ = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY:
            status = status or _text(Path("/proc/self/status"))
            used = re.search(rf"^{field}:\s*(\d+) kB", status, re.MULTILINE)
            rooms.append(max(0, most - (int(used[1]) << 10 if used else 0)))
    return min(rooms) + _freed_in_heap() if rooms else None


def _freed_in_heap() -> int:
    """Free bytes in the C library's heap: the system counts them as used, but the next map can use them."""
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is None:  # not glibc, or older than 2.33
        return 0
    ask.restype = _HeapState
    return int(ask().fordblks)


def _available() -> int | None:
    found, physical = _machine_room(), _physical_bytes()
    return found if found is not None else physical and physical // 2


def _machine_room() -> int | None:
    found = _meminfo("MemAvailable")
    return None if found is None else found + arc_room(_ARC)


def arc_room(statistics: Path) -> int:
    """Bytes that the cache of ZFS releases on demand, from its `statistics`; 0 without ZFS.

    Linux counts this cache as used, unlike that of other file systems.
    """
    found = dict(re.findall(r"^(size|c_min)\s+\d+\s+(\d+)$", _text(statistics), re.MULTILINE))
    return max(0, int(found["size"]) - int(found["c_min"])) if len(found) == 2 else 0


def _meminfo(field: str) -> int | None:
    """Bytes under a name of /proc/meminfo."""
    found = re.search(rf"^{field}:\s*(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE)
    return int(found[1]) << 10 if found else None


def _physical_bytes() -> int | None:
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return pages * os.sysconf("SC_PAGE_SIZE") if pages > 0 else None


def _text(path: Path) -> str:
    """The file's text, or nothing where there is no such file to read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
