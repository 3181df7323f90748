"""`--engine ray`: what can be asked of a cluster, and what a run takes to its machines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from adacode_cli.cli.boundary import came_from
from adacode_cli.cli.restore_options import RestoreOptions, is_stdin
from adacode_cli.cli.restore_plan import Request, naming_of
from adacode_cli.errors import UsageError, WeightsError, translated
from adacode_cli.storage.path import is_address, is_remote

if TYPE_CHECKING:
    from adacode_cli.batch.cluster.carried import CarriedFiles
    from adacode_cli.batch.cluster.executor import ClusterRequest
    from adacode_cli.batch.description import Description
    from adacode_cli.batch.worker import WorkerPlacement

_LOCAL_ONLY, _RAY_ONLY = ("processes",), ("address", "num_workers", "worker_cpus")
_FILES_TO_LOOK_FOR = 64
_ONE_IMAGE = "Leave out --engine ray: one image is restored by one device."
_DEVICES = ("auto", "cpu", "cuda", "all")


def for_the_engine(context: typer.Context, options: RestoreOptions) -> RestoreOptions:
    """The options without those that a file of settings or a variable gives for the other engine."""
    others = _LOCAL_ONLY if options.engine == "ray" else _RAY_ONLY
    absent: dict[str, Any] = {name: None for name in others if came_from(context, name) != "COMMANDLINE"}
    return replace(options, **absent)


def check_cluster(options: RestoreOptions) -> None:
    """Raises UsageError for options that do not go with the engine."""
    if options.engine != "ray":
        for name in _RAY_ONLY:
            if getattr(options, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} has no effect without --engine ray", hint="Add --engine ray, or leave it out."
                )
        return
    if getattr(sys, "frozen", False):
        raise UsageError("a frozen program cannot use --engine ray", hint="Install adacode with pip, or leave it out.")
    if options.processes is not None:
        hint = "Use --num-workers: each worker is a process."
        raise UsageError("--processes has no effect with --engine ray", hint=hint)
    if options.device not in _DEVICES:
        hint = "Use auto, cpu or cuda: Ray gives each worker a GPU of its own."
        raise UsageError(f"--device {options.device} cannot be used with --engine ray", hint=hint)


def check_inputs(inputs: Sequence[str], options: RestoreOptions, request: Request) -> None:
    """Raises UsageError for one image, which a cluster cannot divide, and for standard input."""
    if options.from_file is None and is_stdin(list(inputs)):
        raise UsageError("--engine ray cannot be used with '-', because standard input is one image", hint=_ONE_IMAGE)
    is_one = len(inputs) == 1 and _is_file(inputs[0])
    if is_one or naming_of(options, request).names_one_file():
        raise _one_image()


def check_address(paths: Sequence[Path], options: RestoreOptions) -> None:
    """As `check_inputs`, for an address that is there."""
    from adacode_cli.storage.objects import is_folder

    is_one = options.engine == "ray" and options.from_file is None and len(paths) == 1
    if is_one and is_remote(paths[0]) and not is_folder(paths[0]):
        raise _one_image()


def _one_image() -> UsageError:
    what = "--engine ray needs a directory or several images, and there is one image"
    return UsageError(what, hint=_ONE_IMAGE)


def _is_file(text: str) -> bool:
    return not is_address(text) and os.path.isfile(text)  # noqa: PTH113 (no error for a long name)


def request_of(
    options: RestoreOptions, description: Description, inputs: Sequence[Path], here: Sequence[WorkerPlacement]
) -> ClusterRequest:
    """What a run asks of a cluster. inputs: with the masks. here: the placements on this machine, for its own cluster.

    Raises WeightsError.
    """
    from adacode_cli.batch.cluster.executor import ClusterRequest

    carried = carried_by(description) if options.address is not None else None
    device = "auto" if options.device == "all" else options.device
    local = [path for path in inputs if not is_remote(path)]
    places = (options.output, options.save_weights_map, options.quarantine)
    is_local = bool(local) or any(place is not None and not is_remote(place) for place in places)
    return ClusterRequest(
        options.address,
        options.num_workers,
        device,
        tuple(here),
        carried,
        _to_look_for(local),
        is_local,
        options.worker_cpus,
    )


def _to_look_for(inputs: Sequence[Path]) -> tuple[str, ...]:
    """Which local files every machine must see before the run begins: the folders, and a few of very many files."""
    folders = [path for path in inputs if path.is_dir()]
    files = [path for path in inputs if not path.is_dir()]
    return tuple(str(path) for path in (*folders, *files[:_FILES_TO_LOOK_FOR]))


def carried_by(description: Description) -> CarriedFiles | None:
    """The files of weights and of a detector that lie on this machine alone; None if there are none.

    Weights of the catalogue and of the Hub are found by each machine itself. Raises WeightsError.
    """
    from adacode_cli.batch.cluster.carried import CarriedFiles
    from adacode_cli.checkpoints import catalogue_file
    from adacode_cli.checkpoints.bundles import open_bundle
    from adacode_cli.checkpoints.location import LocalBundle, LocalFile, parse

    files: dict[str, bytes] = {}
    weights = detector = ""
    location = None
    with suppress(WeightsError):  # The workers say what is wrong with the name.
        location = parse(description.network.weights, catalogue_file.load(None))
    if isinstance(location, LocalFile):
        weights = f"weights/{location.path.name}"
        files |= _read("weights", [location.path, *_beside(location.path)])
    elif isinstance(location, LocalBundle):
        folder = location.path.absolute().name or "bundle"
        weights = f"{folder}/{location.name}" if location.name else folder
        files |= _read(folder, [location.path / catalogue_file.FILE_NAME, *open_bundle(location).all_paths()])
    if description.detection is not None and description.detection.detector.endswith(".safetensors"):
        path = Path(description.detection.detector)
        detector = f"detector/{path.name}"
        files |= _read("detector", [path])
    return CarriedFiles(files, weights, detector) if files else None


def _beside(path: Path) -> list[Path]:
    """What may be read beside a file of weights: the other parts of its family, and the catalogue."""
    from adacode_cli.checkpoints import catalogue_file
    from adacode_cli.checkpoints.bundles import family_of

    names = [catalogue_file.FILE_NAME]
    with suppress(WeightsError):
        family = family_of(path)
        names += [f"{family}-{part}.safetensors" for part in ("basis", "fused", "prior")] if family else []
    return [beside for name in names if (beside := path.with_name(name)).is_file() and beside != path]


def _read(folder: str, paths: Iterable[Path]) -> dict[str, bytes]:
    contents = {}
    for path in paths:
        with translated(WeightsError, "cannot be read", path, hint="Check the path."):
            contents[f"{folder}/{path.name}"] = path.read_bytes()
    return contents
