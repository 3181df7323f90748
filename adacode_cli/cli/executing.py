"""From options to what carries out the jobs of a run: this process, or one process for each of several devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from adacode_cli.cli.console import Console
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    from adacode_cli.batch.description import Description
    from adacode_cli.batch.executor import Executor
    from adacode_cli.batch.worker import Place


@contextmanager
def executing(options: RestoreOptions, description: Description, console: Console) -> Iterator[tuple[Executor, str]]:
    """Within the block: (the executor, with networks that are loaded; the digest of the weights).

    Raises UsageError, WeightsError, DeviceError.
    """
    from adacode_cli.batch.local import LocalExecutor
    from adacode_cli.batch.processes import Processes
    from adacode_cli.batch.worker import Work
    from adacode_cli.imaging.decoder_pool import decoding

    with console.waiting("looking for devices"):
        description, places = placed(options, description)
    if len(places) < 2:
        with decoding(isolated=options.isolate, limit_s=options.decode_timeout) as decoder:
            with console.waiting(f"loading {options.weights}"):
                stages, weights = description.stages(decoder)
            yield LocalExecutor(stages, jobs=options.jobs), weights
        return
    works = [Work(description, place, options.isolate, options.decode_timeout, options.jobs) for place in places]
    with Processes(works) as executor:
        with console.waiting(f"loading {options.weights} in {len(places)} processes"):
            weights = executor.start()
        yield executor, weights


def placed(options: RestoreOptions, description: Description) -> tuple[Description, list[Place]]:
    """(the description for the first of several places, the places; none if the options do not ask for several).

    Raises UsageError, DeviceError.
    """
    if not is_for_several(options):
        return description, []
    places = places_of(options)
    return replace(description, network=replace(description.network, device=places[0].device)), places


def is_for_several(options: RestoreOptions) -> bool:
    """Whether the options ask for several processes; `all` may still find one device only."""
    return options.device == "all" or "," in options.device or (options.processes or 1) > 1


def device_names(options: RestoreOptions) -> list[str]:
    """Every device that `--device` names. Raises UsageError where it names one twice."""
    from adacode_cli.engine.device import every_device

    names = every_device() if options.device == "all" else options.device.split(",")
    if len(set(names)) < len(names):
        raise UsageError(f"--device {options.device} names a device twice", hint="Name each device once.")
    return names


def places_of(options: RestoreOptions) -> list[Place]:
    """Where the processes compute. Raises UsageError and DeviceError for devices that cannot be, or are not there."""
    import torch

    from adacode_cli.batch.worker import Place
    from adacode_cli.engine.device import choose_device

    devices = [choose_device(name) for name in device_names(options)]
    if devices[0].type != "cpu":
        if options.processes is not None:
            hint = "Leave it out; for several GPUs, use --device all or --device cuda:0,cuda:1."
            raise UsageError(f"--processes is for a CPU, and the device is {devices[0]}", hint=hint)
        return [Place(str(device), processes=len(devices)) for device in devices]
    processes = options.processes or 1
    threads = max(1, torch.get_num_threads() // processes)
    return [Place("cpu", threads, processes)] * processes
