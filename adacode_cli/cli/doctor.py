"""`adacode doctor`: everything that a bug report should contain, and whether the bundled weights are intact."""

from __future__ import annotations

from collections.abc import Iterator
from json import dumps
from typing import Annotated

import typer

from adacode_cli.cli import machine
from adacode_cli.cli.boundary import invocation_of
from adacode_cli.cli.configuration import Loaded, loaded_of
from adacode_cli.cli.machine import Facts
from adacode_cli.cli.options import flag
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import printable, write_line
from adacode_cli.errors import WeightsError

_YES_NO = {True: "yes", False: "no", None: "unknown"}


def doctor(
    context: typer.Context,
    json: Annotated[bool, flag("--json", help="Write a JSON object to standard output.")] = False,
    hub_repo: Annotated[
        str | None,
        typer.Option(metavar="OWNER/REPO", envvar="ADACODE_HUB_REPO", help="The Hub repository to report on."),
    ] = None,
) -> None:
    """Show versions, image formats, stores, devices, precision support, weights and caches.

    Ends with exit code 4 if bundled weights are missing or damaged, and with 2 if
    the file of settings cannot be used.
    """
    invocation_of(context, json=json)
    loaded = loaded_of(context)
    with showing("looking at this machine", quiet=json) as show_line:
        facts: Facts = {
            "versions": machine.versions(),
            "formats": machine.image_formats(),
            "stores_and_clusters": machine.stores_and_clusters(),
            "memory": machine.memory(),
            "devices": machine.devices(),
        }
        show_line("comparing the digests of the weights")
        facts |= {
            "weights": machine.weights(hub_repo),
            "places": machine.places(hub_repo),
            "settings": _settings(loaded),
        }
    if json:
        write_line(dumps(facts))
    else:
        for line in _lines(facts):
            write_line(line)
    problems = [entry for entry in facts["weights"] if entry["problem"] and entry["kind"] == "bundled"]
    if problems:
        names = ", ".join(entry["name"] for entry in problems)
        raise WeightsError(f"bundled weights cannot be used: {names}", hint="Reinstall adacode-cli.")
    if loaded.problem:
        raise loaded.problem


def _settings(loaded: Loaded) -> Facts:
    """The file of settings, or None, and why it cannot be used, or None."""
    if loaded.problem is None:
        return {"file": loaded.file and str(loaded.file.path), "problem": None}
    path = loaded.problem.path
    return {"file": None if path is None else str(path), "problem": loaded.problem.message}


def _lines(facts: Facts) -> Iterator[str]:
    yield "versions"
    yield from _pairs(facts["versions"])
    yield ""
    yield "formats"
    yield from _pairs({format["title"]: _format(format) for format in facts["formats"]})
    yield ""
    yield "stores and clusters"
    yield from _pairs({one["title"]: _store_or_cluster(one) for one in facts["stores_and_clusters"]})
    yield ""
    yield "memory"
    yield from _pairs({name: _gigabytes(size) for name, size in facts["memory"].items()})
    yield ""
    yield "devices"
    for device in facts["devices"]:
        yield f"  {_device(device)}"
        native = device["native"]
        names = ("fp32", "bf16", "fp16", "int8")
        yield "      native: " + ", ".join(f"{name} {_YES_NO[native[name]]}" for name in names)
        yield f"      auto: {_auto(device, facts['versions'])}"
    yield ""
    yield "weights"
    yield from _pairs({entry["name"]: _weights(entry) for entry in facts["weights"]})
    yield ""
    yield "places"
    yield from _pairs({name.replace("_", " "): _place(value) for name, value in facts["places"].items()})
    yield ""
    yield "settings"
    settings = facts["settings"]
    yield from _pairs({"file": printable(_place(settings["file"]))})
    if settings["problem"]:
        yield from _pairs({"PROBLEM": printable(settings["problem"])})


def _pairs(facts: Facts) -> Iterator[str]:
    width = max((len(name) for name in facts), default=0)
    return (f"  {name:<{width}}  {value}" for name, value in facts.items())


def _unavailable(package: str, install: str) -> str:
    return f"unavailable: {package} is not installed ({install})"


def _store_or_cluster(one: Facts) -> str:
    if one["version"] is None:
        return _unavailable(one["package"], one["install"])
    return f"{one['package']} {one['version']}"


def _format(format: Facts) -> str:
    if format["missing"]:
        return _unavailable(format["missing"], format["install"])
    if not format["suffixes"]:
        return f"read: {', '.join(format['input_suffixes'])}{_profiles(format)}"
    also = f"; read: {', '.join(format['input_suffixes'])}" if format["input_suffixes"] else ""
    return f"read and written: {', '.join(format['suffixes'])}{also}"


def _profiles(format: Facts) -> str:
    if format["missing_for_profiles"] is None:
        return ""
    return f"; with an ICC profile only if {format['missing_for_profiles']} is installed ({format['install']})"


def _device(device: Facts) -> str:
    about = [device["name"]]
    if "cores" in device:
        about.append(f"{device['cores']} cores, {device['threads']} threads, {device['instructions']}")
    if "free" in device:
        about.append(f"{_gigabytes(device['free'])} of {_gigabytes(device['memory'])} free")
    return f"{device['device']}: {', '.join(about)}"


def _auto(device: Facts, versions: Facts) -> str:
    usual, with_ranges = device["auto"], device["auto_with_ranges"]
    if device["native"]["int8"] and "openvino" not in versions:
        return f"{usual}; int8 needs OpenVINO (pip install 'adacode-cli[int8]')"
    if with_ranges == usual:
        return f"{usual}, also for weights with ranges for int8"
    from adacode_cli.model.ranges import VISIBLE_DB

    return f"{usual}; {with_ranges} for weights whose ranges state at least {VISIBLE_DB:g} dB to float32"


def _weights(entry: Facts) -> str:
    if entry["problem"]:
        return f"PROBLEM: {entry['problem']}"
    verified = ", digests verified" if entry["state"] == "bundled" else ""
    return f"{entry['state']}{verified}"


def _place(value: object) -> str:
    if isinstance(value, bool):
        return _YES_NO[value]
    return "none" if value is None else str(value)


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
