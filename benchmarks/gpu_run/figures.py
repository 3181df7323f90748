"""Summaries of the output of the parts, read from JSON if there is any."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

Found = dict[str, Any]
_PYTEST_END = re.compile(r"=+ (?P<summary>.*\b(?:passed|failed|error|errors|skipped|no tests ran)\b.*) in [\d.]+s.* =+")
_ENGINE_HEAD = re.compile(r"(?P<family>\w+), (?P<side>\d+)×\d+ → ")
_ENGINE_PASS = re.compile(r"  (?P<name>\w+) +(?P<seconds>[\d.]+) s  ratio +(?P<ratio>[\d.]+) +(?P<rest>.*)")
_MAX_FAILURES = 8


def objects(text: str, key: str) -> list[Found]:
    """The JSON objects among the lines of a text that have `key`."""
    found = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            found += [value] if key in value else []
    return found


def preparation(text: str) -> list[str]:
    """The machine, and the missing packages."""
    lines = []
    for about in objects(text, "lacking"):
        card = f"{about['card']}, {about['gigabytes']} GiB" if "card" in about else "no GPU"
        lines += [card] + ([f"driver {about['driver']}"] if about["driver"] else [])
        lines.append(f"torch {about.get('torch', 'cannot be imported')}, Python {about['python']}")
        lines.append(f"{about['cores']} cores")
        lines += [f"installed: {', '.join(about['installed'])}"] if about["installed"] else []
        lines += [f"cannot be imported: {', '.join(about['lacking'])}"] if about["lacking"] else []
    return lines


def tests(text: str) -> list[str]:
    """pytest's last line, and which tests failed."""
    ends = [match["summary"] for match in map(_PYTEST_END.match, text.splitlines()) if match]
    failed = [line.split(" - ")[0] for line in text.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    more = [f"and {len(failed) - _MAX_FAILURES} more"] if len(failed) > _MAX_FAILURES else []
    if not ends:  # it was stopped before its end
        ends = [f"{len(re.findall(rf' {word}', text))} {word.lower()}" for word in ("PASSED", "FAILED")]
    return [*ends, *failed[:_MAX_FAILURES], *more]


def engine(text: str) -> list[str]:
    """Seconds of each way to run a network, and its speed as a ratio to the plain pass."""
    lines = []
    for bench in objects(text, "passes"):
        lines += [
            f"{most['precision']} at most {most['convolutions']:.0f} GFLOP/s in convolutions"
            for most in bench["ceilings"]
        ]
        head = f"{bench['weights']} {bench['side']}²"
        for one in bench["passes"]:
            psnr = "" if one["psnr_db"] is None else f", {one['psnr_db']:.1f} dB"
            lines.append(f"{head} {one['name']} {one['seconds']:.4f} s, ratio {one['ratio']:.2f}{psnr}")
        lines += [f"{one['megapixels']} MP of output {one['seconds']:.2f} s" for one in bench["growth"]]
        if bench["files"]:
            lines.append(f"{bench['files']['count']} files: {bench['files']['ratio']:.2f} times the engine's time")
    return lines + _engine_table(text)


def _engine_table(text: str) -> list[str]:
    lines, head = [], ""
    for line in text.splitlines():
        if match := _ENGINE_HEAD.match(line):
            head = f"{match['family']} {match['side']}²"
        elif head and (match := _ENGINE_PASS.match(line)):
            psnr = re.search(r"PSNR (\S+) dB", match["rest"])
            more = f", {psnr[1]} dB" if psnr else ""
            lines.append(f"{head} {match['name']} {match['seconds']} s, ratio {match['ratio']}{more}")
    return lines


def end_to_end(text: str) -> list[str]:
    """Rates of a run over files, and of its parts."""
    lines = []
    for found in objects(text, "run_images_per_s"):
        lines.append(
            f"{found['done']} of {found['photos']} photographs of {found['megapixels']:.2g} MP, ×{found['scale']:g}, "
            f"{found['jobs']} jobs: {found['run_images_per_s']:.2f} images/s, "
            f"{found['run_output_megapixels_per_s']:.1f} MP/s of output"
        )
        lines.append(f"with start-up {found['whole_images_per_s']:.2f} images/s")
        lines.append(
            f"engine alone {found['engine_images_per_s']:.2f}, codecs alone {found['codec_images_per_s']:.2f} images/s"
        )
        lines.append(f"{found['ratio_to_limit']:.2f} of the limit, which is the {found['limit']}")
    return lines


def training(log: Path) -> list[str]:
    """A summary of a run's NAME.jsonl, from its first to its last line."""
    try:
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []
    if not lines:
        return []
    speeds = [line["images_per_s"] for line in lines]
    figures = [
        f"{lines[-1]['step']:.0f} steps in {lines[-1]['seconds']:.0f} s",
        f"{statistics.median(speeds):.4g} images/s (median of {len(speeds)}), "
        f"{statistics.median(line['waiting'] for line in lines):.1%} waiting for data",
        f"{lines[-1]['memory_mb']:.0f} MB at most",
        f"loss {lines[0]['total']:.4f} → {lines[-1]['total']:.4f}",
    ]
    validated = [line for line in lines if "validation/psnr" in line]
    for name in ("psnr", "ssim", "lpips"):
        scores = [line[f"validation/{name}"] for line in validated if f"validation/{name}" in line]
        figures += [f"{name} {scores[0]:.4g} → {scores[-1]:.4g}"] if scores else []
    return figures
