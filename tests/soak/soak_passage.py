"""The process that takes cases through what a run does with a file, and says of each what became of it.

    python tests/soak/soak_passage.py SEED FIRST COUNT

Images are decoded by the real `DecoderPool`; of one that can be read, a corner is enlarged, and it is attributed,
encoded in its own format and decoded again. Files of codes are read, written and read again. Each case gives two lines
of JSON, before and after, so that whoever watches knows at which one this process ended.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from soak_cases import ENTRY, Case, case, seeds

from adacode_cli.batch.keeping import Keeping
from adacode_cli.codes.file import from_bytes, to_bytes
from adacode_cli.errors import InputError, OutputError
from adacode_cli.imaging.decoder_pool import DecoderPool, DecodingBug
from adacode_cli.imaging.image import Decoded, Samples

MAX_PIXELS = 1_000_000
TIME_LIMIT_S = 10.0
ADDRESS_SPACE_BYTES = 8 << 30  # libraries map much that they never touch
_CORNER = 16
_EXACT = frozenset(("png", "tiff", "bmp"))
_KEEPING = Keeping(history=ENTRY, max_pixels=MAX_PIXELS)
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """Of this process and the decoders beside it: seconds of processor time and resident bytes, by process."""

    seconds: dict[int, float]
    resident: dict[int, int]


def outcome_of(found: Case, pool: DecoderPool) -> str:
    """What became of a case: "restored", "refused", "crashed", "late", or the words of a fault of ours."""
    try:
        (_pass_codes if found.kind == "codes" else _pass_image)(found, pool)
    except InputError as error:
        return _refusal(error)
    except _Fault as fault:
        return str(fault)
    except Exception as error:  # noqa: BLE001 (this is what is looked for)
        return f"bug: {_where(error)}{type(error).__name__}: {str(error)[:300]}"
    return "restored"


class _Fault(Exception):  # noqa: N818 (a finding)
    pass


def _pass_image(found: Case, pool: DecoderPool) -> None:
    image = pool(found.data, name="x", max_pixels=MAX_PIXELS)
    pages = tuple(_enlarged(page) for page in image.pages[:3])
    restored = replace(pages[0], more_pages=pages[1:])
    try:
        data, _ = _KEEPING.encoded(restored, found.kind, None)
    except OutputError as error:
        raise _Fault(f"not written: {error}") from error
    try:
        again = pool(data, name="x", max_pixels=MAX_PIXELS)
    except InputError as error:
        raise _Fault(f"its output cannot be read: {error.message}") from error
    _compare(restored, again, exactly=found.kind in _EXACT)


def _enlarged(page: Decoded) -> Decoded:
    """A corner of the page, twice as large: what a network would do takes longer and meets no more of the file."""
    pixels = _twice(page.pixels[:_CORNER, :_CORNER])
    alpha = None if page.alpha is None else _twice(page.alpha[:_CORNER, :_CORNER])
    return page.restored(pixels, alpha, page.notes)


def _twice(samples: Samples) -> Samples:
    return np.ascontiguousarray(samples.repeat(2, axis=0).repeat(2, axis=1))


def _compare(made: Decoded, read: Decoded, *, exactly: bool) -> None:
    if len(made.pages) != len(read.pages) and made.format == "tiff":
        raise _Fault(f"its output has {len(read.pages)} pages instead of {len(made.pages)}")
    for page, other in zip(made.pages, read.pages, strict=False):
        if page.size != other.size:
            raise _Fault(f"its output has {other.size} pixels instead of {page.size}")
        if exactly and page.alpha is None and not _same(page.pixels, other.pixels):
            raise _Fault("its output has other pixels")


def _same(one: Samples, other: Samples) -> bool:
    if one.dtype != other.dtype:  # BMP keeps eight bits
        return True
    return bool(np.array_equal(one, other, equal_nan=one.dtype == np.float32))


def _pass_codes(found: Case, _: DecoderPool) -> None:
    codes = from_bytes(found.data, name="x")
    again = from_bytes(to_bytes(codes), name="x")
    if not all(np.array_equal(value, getattr(again, name)) for name, value in vars(codes).items() if name != "notes"):
        raise _Fault("codes are others after writing and reading")
    shape = (codes.height, codes.width) if codes.grey else (codes.height, codes.width, 3)
    if codes.height * codes.width > MAX_PIXELS:
        return
    pixels = np.zeros(shape, codes.dtype)
    image = Decoded(pixels, codes.alpha, "png", codes.icc, codes.exif, (), codes.xmp, codes.iptc)
    try:
        _KEEPING.encoded(_enlarged(image), "png", None)
    except OutputError as error:
        raise _Fault(f"not written: {error}") from error


def _refusal(error: InputError) -> str:
    message = error.message
    if "its decoder did not finish" in message:
        return "late"
    if "its decoder" in message:
        return f"crashed: {message}"
    return "refused" if error.message and error.hint else f"refused without a reason or a remedy: {error}"


def _where(error: BaseException) -> str:
    """The innermost line of ours, for telling one bug from another."""
    if isinstance(error, DecodingBug):
        trace = str(error.__cause__).splitlines()
        places = [line.strip() for line in trace if "adacode_cli" in line and ", line " in line]
        return f"{places[-1].split('adacode_cli/')[-1]}: " if places else ""
    at, found = error.__traceback__, ""
    while at is not None:
        name = at.tb_frame.f_code.co_filename
        if "adacode_cli" in name:
            found = f"{name.split('adacode_cli/')[-1]} line {at.tb_lineno}: "
        at = at.tb_next
    return found


def usage(pids: list[int]) -> Usage:
    """What the processes have used so far."""
    seconds, resident = {}, {}
    for pid in pids:
        with suppress(OSError, IndexError, ValueError):  # it has just ended
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            seconds[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
            resident[pid] = int(fields[21]) * _PAGE_BYTES
    return Usage(seconds, resident)


def peaks(pids: list[int]) -> dict[int, int]:
    """The largest resident size of each process since `forget_peaks`."""
    found = {}
    for pid in pids:
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            found[pid] = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10
    return found


def forget_peaks(pids: list[int]) -> None:
    """From here on the peak of each process counts anew (Linux)."""
    for pid in pids:
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def processes() -> list[int]:
    """This process and those that it has started."""
    me = os.getpid()
    with suppress(OSError):
        return [me, *map(int, Path(f"/proc/self/task/{me}/children").read_text().split())]
    return [me]


def measured(found: Case, pool: DecoderPool) -> dict[str, object]:
    """A case's outcome, with its seconds, processor seconds and the growth of memory that it caused, in bytes."""
    pids = processes()
    forget_peaks(pids)
    before, began = usage(pids), time.perf_counter()
    result = outcome_of(found, pool)
    seconds = time.perf_counter() - began
    after = usage(processes())
    busy = sum(total - before.seconds.get(pid, 0.0) for pid, total in after.seconds.items() if pid in before.seconds)
    growth = sum(max(0, peak - before.resident.get(pid, peak)) for pid, peak in peaks(pids).items())
    return {"result": result, "seconds": seconds, "busy": max(0.0, busy), "growth": growth}


def main() -> None:
    """Takes the cases through, one after the other."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    seed, first, count = map(int, sys.argv[1:4])
    pool = DecoderPool(TIME_LIMIT_S)
    # What is imported with the first file of a format, here and there, counts for none.
    for name, data in {name.split("-")[0]: (name, data) for name, data in seeds().items()}.values():
        outcome_of(Case(-1, name.split("-")[0], name, data), pool)
    try:
        for number in range(first, first + count):
            print(json.dumps({"begun": number}), flush=True)
            found = case(seed, number)
            print(json.dumps({"done": number, "kind": found.kind, **measured(found, pool)}), flush=True)
    finally:
        pool.close()


if __name__ == "__main__":
    main()
