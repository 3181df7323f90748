"""From options to what carries out the jobs of a run: this process, one process for each of several devices, or the
workers of a cluster (`cli.cluster`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli.cli.cluster import request_of
from adacode_cli.cli.console import Console
from adacode_cli.cli.loading import pinned
from adacode_cli.cli.process import protect_stderr
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.streams import show_warnings_only_if
from adacode_cli.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from adacode_cli.batch.description import Description
    from adacode_cli.batch.executor import Executor
    from adacode_cli.batch.worker import WorkerPlacement


@contextmanager
def executing(
    options: RestoreOptions, description: Description, console: Console, inputs: Sequence[Path] = ()
) -> Iterator[tuple[Executor, str]]:
    """Within the block: (the executor, with networks that are loaded; the digest of the weights).

    inputs: what the run was given, which every machine of a cluster must see.

    Raises UsageError, WeightsError, DeviceError.
    """
    from adacode_cli.batch.local import LocalExecutor
    from adacode_cli.batch.processes import Processes
    from adacode_cli.batch.worker import WorkerTask
    from adacode_cli.imaging.decoder_pool import decoding

    if options.engine == "ray":
        with on_cluster(options, description, console, inputs) as found:
            yield found
        return
    if is_for_several(options) and getattr(sys, "frozen", False):
        hint = "Name one device, and leave out --processes."
        raise UsageError("a frozen program cannot start several processes", hint=hint)
    with console.waiting("looking for devices"):
        description, placements = placed(options, description)
    with console.waiting(f"looking for {options.weights}"):
        description = pinned(description)
    if len(placements) < 2:
        with decoding(isolated=options.isolate, limit_s=options.decode_timeout) as decoder:
            with console.waiting(f"loading {options.weights}"):
                stages, weights = description.stages(decoder)
            yield LocalExecutor(stages, jobs=options.jobs), weights
        return
    prepare = partial(prepare_worker, is_verbose=options.verbose > 0)
    tasks = [
        WorkerTask(description, placement, options.isolate, options.decode_timeout, options.jobs, prepare)
        for placement in placements
    ]
    with Processes(tasks) as executor:
        with console.waiting(f"loading {options.weights} in {len(placements)} processes"):
            weights = executor.start()
        yield executor, weights


@contextmanager
def on_cluster(
    options: RestoreOptions, description: Description, console: Console, inputs: Sequence[Path]
) -> Iterator[tuple[Executor, str]]:
    """As `executing`, on the workers of a cluster."""
    from adacode_cli.batch.cluster.connection import require_ray
    from adacode_cli.batch.cluster.executor import ClusterExecutor
    from adacode_cli.batch.worker import WorkerPlacement, WorkerTask, nothing_to_prepare

    require_ray()
    with console.waiting(f"looking for {options.weights}"):
        description = pinned(description)
        request = request_of(options, description, inputs, _here(options) if options.address is None else ())
    device = "cuda" if options.device == "cuda" else "cpu"
    task = WorkerTask(
        description, WorkerPlacement(device), options.isolate, options.decode_timeout, options.jobs, nothing_to_prepare
    )
    where = "a Ray cluster of this machine" if options.address is None else f"the Ray cluster {options.address}"
    with ClusterExecutor(task, request) as executor:
        with console.waiting(f"loading {options.weights} on {where}"):
            weights = executor.start()
        yield executor, weights


def _here(options: RestoreOptions) -> tuple[WorkerPlacement, ...]:
    """The placements in a cluster of this machine: each GPU, or the CPU once or `num_workers` times.

    Raises UsageError, and DeviceError for a GPU, or CPUs, that are not there.
    """
    from adacode_cli.engine.device import choose_device

    if options.device == "cuda":
        choose_device("cuda")  # Without one, "all" is the CPU.
    several = replace(options, device="cpu" if options.device == "cpu" else "all", processes=None)
    placements = placements_of(several)
    device = placements[0].device
    if device == "cpu":
        return _on_cpus(several, options.num_workers, options.worker_cpus)
    if not device.startswith("cuda"):
        hint = "Use --device cpu, or leave out --engine ray."
        raise UsageError(f"--engine ray cannot use the device {device}", hint=hint)
    if (options.num_workers or 1) > len(placements):
        what = f"--num-workers {options.num_workers}: this machine has {len(placements)} GPUs"
        raise UsageError(what, hint="Use a smaller number, or --device cpu.")
    return tuple(replace(one, device="cuda") for one in placements[: options.num_workers])


def _on_cpus(options: RestoreOptions, num_workers: int | None, cpus: int | None) -> tuple[WorkerPlacement, ...]:
    """Workers on the CPUs of this machine, with so many each."""
    from adacode_cli.batch.worker import WorkerPlacement

    if cpus is None:
        return tuple(placements_of(replace(options, processes=num_workers)))
    there = os.cpu_count() or 1
    if cpus > there:
        what = f"--worker-cpus {cpus}: this machine has {there} CPUs"
        raise DeviceError(what, hint="Use a smaller number.")
    workers = num_workers or there // cpus
    return (WorkerPlacement("cpu", cpus, max(workers, there // cpus)),) * workers


def prepare_worker(*, is_verbose: bool) -> None:
    """Called in each process of a run: its standard error is that of the run, with the same rules for what is shown."""
    protect_stderr()
    show_warnings_only_if(lambda: is_verbose)


def placed(options: RestoreOptions, description: Description) -> tuple[Description, list[WorkerPlacement]]:
    """(the description for the first of several placements, all of them; none if the options do not ask for several).

    Raises UsageError, DeviceError.
    """
    if not is_for_several(options):
        return description, []
    placements = placements_of(options)
    return replace(description, network=replace(description.network, device=placements[0].device)), placements


def is_for_several(options: RestoreOptions) -> bool:
    """Whether the options ask for several processes; `all` may still find one device only."""
    return options.device == "all" or "," in options.device or (options.processes or 1) > 1


def device_names(options: RestoreOptions) -> list[str]:
    """Every device that `--device` names. Raises UsageError where it names one twice."""
    from adacode_cli.engine.device import every_device

    names = every_device() if options.device == "all" else options.device.split(",")
    if len({"cuda:0" if name == "cuda" else name for name in names}) < len(names):
        raise UsageError(f"--device {options.device} names a device twice", hint="Name each device once.")
    return names


def placements_of(options: RestoreOptions) -> list[WorkerPlacement]:
    """Where the processes compute. Raises UsageError and DeviceError for devices that cannot be, or are not there."""
    import torch

    from adacode_cli.batch.worker import WorkerPlacement
    from adacode_cli.engine.device import choose_device

    devices = [choose_device(name) for name in device_names(options)]
    processes = options.processes or 1
    if devices[0].type != "cpu":
        if processes > 1:
            hint = "Leave it out; --device all, or --device cuda:0,cuda:1, uses several GPUs, and --device cpu the CPU."
            raise UsageError(f"--processes is for a CPU, and the device is {devices[0]}", hint=hint)
        return [WorkerPlacement(str(device), processes=len(devices)) for device in devices]
    threads = max(1, torch.get_num_threads() // processes)
    return [WorkerPlacement("cpu", threads, processes)] * processes
