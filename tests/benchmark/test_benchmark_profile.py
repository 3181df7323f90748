"""`adacode bench --profile`: a real run that is looked at, on the CPU and, with a trace written by hand, as on CUDA."""

from __future__ import annotations

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from adacode_cli.benchmark import files as files_module
from adacode_cli.benchmark import profile as profile_module
from adacode_cli.benchmark import stage_times
from adacode_cli.benchmark.profile import FirstImage, Profile, first_image, profile
from adacode_cli.benchmark.speed import Ceiling
from adacode_cli.benchmark.stage_times import RUN, STAGES, StageTimes, WatchedStages, sharing
from adacode_cli.benchmark.trace import Trace, TraceEvent
from adacode_cli.cli.bench_text import profile_lines, short
from adacode_cli.cli.main import app
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import UsageError
from adacode_cli.imaging.decoder_pool import decoding
from adacode_cli.imaging.image import Decoded

PAGE = Path(__file__).parents[2] / "docs" / "json.md"
HOST, STREAM = (1, 1), (0, 7)
FIRST = FirstImage(2.0, 0.5)


def bench(*arguments: object) -> None:
    typer.main.get_command(app)(["bench", *(str(a) for a in arguments)], standalone_mode=False)


def few(weights: Path) -> tuple[object, ...]:
    return ("-w", weights, "-s", 2, "--side", 24, "--repeats", 1, "--device", "cpu", "--megapixels", 0.002)


def kernel(start: float, end: float, name: str = "void at::native::conv<float>(int)") -> TraceEvent:
    return TraceEvent(name, "kernel", STREAM, start, end)


# However slow the machine is, no image begins after this one, so that the record counts as whole.
AT_THE_END = kernel(1.0, 1.0)


@pytest.fixture
def quick(monkeypatch) -> None:
    """Leaves out the measurements that are not of files and take seconds each."""
    monkeypatch.setattr("adacode_cli.benchmark.whole.ceiling", lambda name, *_: Ceiling(name, 1.0, 1.0))
    monkeypatch.setattr("adacode_cli.benchmark.whole.yardstick_seconds", lambda *_: 1.0)


def looked_at(weights: Path, device: str, monkeypatch, *events: TraceEvent) -> Profile:
    """A real run of two files, and these events as what the profiler saw in seconds of it."""

    def traced(work, _):
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
        found = (one._replace(start=one.start * seconds, end=one.end * seconds) for one in events)
        return Trace(seconds, HOST, tuple(found))

    monkeypatch.setattr(profile_module, "traced", traced)
    monkeypatch.setattr(files_module, "decoding", lambda isolated: decoding(isolated=False))  # processes take seconds
    restorer = Restorer.from_pretrained(str(weights), device="cpu")
    return profile(restorer, 2, 2, 0.002, device=torch.device(device), first=FIRST)


def test_json_of_a_profile_adds_up(weights, capfd, quick):
    bench(*few(weights), "--files", 3, "--profile", "--json")
    out, err = capfd.readouterr()
    assert err == ""
    found = json.loads(out)["profile"]
    assert (found["count"], found["megapixels"], found["device"], found["note"]) == (3, 0.002025, None, None)
    assert [one["name"] for one in found["stages"]] == list(STAGES)
    for one in found["stages"]:
        assert 0 <= one["beside_share"] <= one["share"] <= 1
        assert one["seconds"] >= one["share"] * found["seconds"] * (1 - 1e-9) > 0
    assert min(found["seconds"], found["first_seconds"], found["later_seconds"]) > 0
    assert 0 <= found["parallel_share"] <= 1 - found["none_share"] <= 1
    assert sum(one["share"] for one in found["stages"]) >= 1 - found["none_share"] - 1e-9

    operators = found["operators"]
    three = [operators[f"{part}_share"] for part in ("operators", "outside", "waiting")]
    assert all(0 < share < 1 for share in three)
    assert sum(three) == pytest.approx(1)
    assert len(operators["operators"]) == 10
    assert sum(one["share"] for one in operators["operators"]) + operators["rest_share"] == pytest.approx(1)
    seconds = [one["seconds"] for one in operators["operators"]]
    assert seconds == sorted(seconds, reverse=True)
    assert any("conv" in one["name"] and one["calls"] >= 3 for one in operators["operators"])


def test_keys_are_those_of_the_page(weights, monkeypatch):
    found = looked_at(weights, "cuda", monkeypatch, kernel(0.1, 0.9))
    part = PAGE.read_text(encoding="utf-8").split("## The `profile` of", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    named = {key for row in rows for key in re.findall(r"`(\w+)`", row)}

    def keys_of(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(keys_of, value.values()))
        return set().union(*map(keys_of, value)) if isinstance(value, list | tuple) else set()

    from adacode_cli.cli.bench_text import profile_object

    on_cuda = profile_object(found)
    monkeypatch.undo()
    restorer = Restorer.from_pretrained(str(weights), device="cpu")
    on_cpu = profile_object(profile(restorer, 2, 1, 0.002, device=torch.device("cpu"), first=FIRST))
    assert keys_of(on_cuda) | keys_of(on_cpu) == named


def test_without_being_asked_there_is_none(weights, capfd, quick):
    bench(*few(weights), "--files", 1, "--json")
    assert json.loads(capfd.readouterr().out)["profile"] is None


def test_a_person_gets_lines_that_fit_a_narrow_terminal(weights, capfd, quick):
    bench(*few(weights), "--files", 2, "--profile")
    out, err = capfd.readouterr()
    assert err == ""
    profile = out.split("\nhow such a run spends its time: ", 1)[1]
    assert all(len(line) <= 60 for line in profile.splitlines())
    assert re.search(r"^  first image: [\d.]+ s, later: [\d.]+ s each$", profile, re.MULTILINE)
    for row in ("reading, decoding", "network", "encoding, writing", "two or more at once", "outside operators"):
        assert re.search(rf"^  {row} .*\d%$", profile, re.MULTILINE)
    assert re.search(r"^  aten::\w*conv\w* +\d+ +[\d.]+ +[\d.]+%$", profile, re.MULTILINE)
    assert "kernels" not in profile


def test_a_cuda_device_is_reported(weights, monkeypatch):
    copy = TraceEvent("Memcpy DtoH (Device -> Pinned)", "gpu_memcpy", STREAM, 0.4, 0.7)
    launch = TraceEvent("cudaLaunchKernel", "cuda_runtime", HOST, 0.0, 0.1)
    wait = TraceEvent("cudaStreamSynchronize", "cuda_runtime", HOST, 0.4, 0.8)
    kernels = kernel(0.1, 0.2), kernel(0.2, 0.5), kernel(0.8, 0.99), AT_THE_END
    found = looked_at(weights, "cuda", monkeypatch, *kernels, copy, launch, wait)
    assert found.operators is None
    lines = list(profile_lines(found))
    assert max(map(len, lines)) <= 60
    text = " ".join(" ".join(lines).split())
    for piece in (
        "kernels 59.0% copies 30.0% to the device 0.0% from the device 30.0% hidden behind kernels 10.0% idle 21.0%",
        "host waits for the device 40.0%",
        "each image: 2 kernels, 0 launches, 0.5 waits of the host",
        "first image: 2.000 s, later: 0.500 s each",
    ):
        assert piece in text
    assert re.search(r"conv<float> +4 +[\d.]+ +100\.0%", "\n".join(lines))


def test_a_record_that_ends_early_is_reported(weights, monkeypatch):
    assert looked_at(weights, "cuda", monkeypatch, AT_THE_END).note is None
    found = looked_at(weights, "cuda", monkeypatch, kernel(0.0, 0.001))
    assert "ends before the run does" in found.note
    text = "\n".join(profile_lines(found))
    assert f"note: {found.note}" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 60


def test_a_driver_that_hides_kernels_is_reported(weights, monkeypatch):
    found = looked_at(weights, "cuda", monkeypatch)
    assert found.device is None
    assert "no kernel" in found.note


def test_on_mps_there_are_stages_alone(weights):
    restorer = Restorer.from_pretrained(str(weights), device="cpu")  # nothing but the profiler minds
    found = profile(restorer, 2, 1, 0.002, device=torch.device("mps"), first=FIRST)
    assert (found.device, found.operators) == (None, None)
    assert "mps" in found.note
    assert all(one.seconds > 0 for one in found.sharing.stages)


def test_the_first_image_is_distinguished(weights, monkeypatch):
    clock = iter((0.0, 7.0, 10.0, 11.0, 20.0, 23.0))
    monkeypatch.setattr(profile_module.time, "perf_counter", lambda: next(clock))
    prepared, restore = [], Restorer.sr
    restorer = Restorer.from_pretrained(str(weights), device="cpu")
    monkeypatch.setattr(restorer, "prepare", lambda *args: prepared.append(args))
    monkeypatch.setattr(Restorer, "sr", lambda self, image, scale: restore(self, image[:8, :8], scale))
    assert first_image(restorer, 2, 0.001) == FirstImage(7.0, 2.0)
    assert prepared == [("sr", 2)]


def test_the_first_image_comes_before_all_else_and_the_profiler_after(weights, capfd, quick, monkeypatch):
    order = []
    for module, name in (("whole", "first_image"), ("whole", "ceiling"), ("whole", "files"), ("whole", "profile")):
        path = f"adacode_cli.benchmark.{module}.{name}"
        real = getattr(__import__(f"adacode_cli.benchmark.{module}", fromlist=[name]), name)
        seen = lambda *a, real=real, name=name, **k: (order.append((name, a[0])), real(*a, **k))[1]  # noqa: E731
        monkeypatch.setattr(path, seen)
    bench(*few(weights), "--files", 1, "--precision", "fp32", "--profile", "--json")
    assert [name for name, _ in order] == ["first_image", "ceiling", "files", "profile"]
    assert order[0][1] is order[2][1] is order[3][1]  # one engine, so that the run is warm


def timed(monkeypatch, *intervals):
    """Times of stages that were at work as (stage, start, end) says, in this order of their ends."""
    times = StageTimes()
    for stage, start, end in intervals:
        clock = iter((start, end))
        monkeypatch.setattr(stage_times.time, "perf_counter", lambda clock=clock: next(clock))
        with times.during(stage):
            pass
    return times


def test_stages_side_by_side_are_reported(monkeypatch):
    times = timed(
        monkeypatch,
        ("read", 10.0, 12.0),
        ("read", 11.0, 13.0),  # beside another reading for 1
        ("infer", 12.0, 16.0),
        ("infer", 14.0, 17.0),  # in a thread of its own
        ("write", 16.0, 18.0),
        (RUN, 10.0, 20.0),
    )
    found = sharing(times)
    assert [(one.name, one.seconds, one.share, one.beside_share) for one in found.stages] == [
        ("read", 4.0, 0.3, 0.1),
        ("infer", 7.0, 0.5, 0.2),
        ("write", 2.0, 0.2, 0.1),
    ]
    assert found.parallel_share == pytest.approx((2 + 2 + 1) / 10)  # 11 to 13, 14 to 16 and 16 to 17
    assert found.none_share == pytest.approx(0.2)


def test_times_come_from_many_threads():
    times, meeting = StageTimes(), threading.Barrier(4)

    def work(_):
        with times.during("infer"):
            meeting.wait(60)

    with times.during(RUN), ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert len(times.of("infer")) == 8
    (infer,) = (one for one in sharing(times).stages if one.name == "infer")
    assert infer.seconds > infer.share * times.of(RUN)[0][1] - infer.share * times.of(RUN)[0][0]


def test_a_stage_that_fails_took_time_too():
    times = StageTimes()
    watched = WatchedStages(lambda *_: 1 // 0, times=times)
    with pytest.raises(ZeroDivisionError):
        watched.infer(None, stage_times.Read(Decoded(np.zeros((2, 2), np.uint8))))
    assert len(times.of("infer")) == 1


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("aten::mkldnn_convolution", "aten::mkldnn_convolution"),
        ("aten::add.out", "aten::add.out"),
        ("Memcpy DtoD (Device -> Device)", "Memcpy DtoD"),
        ("triton_poi_fused_add_0", "triton_poi_fused_add_0"),
        (
            "void at::native::(anonymous namespace)::CatArrayBatchedCopy<unsigned int, 4, 64>(int*, at::Tensor)",
            "CatArrayBatchedCopy<unsigned int, 4, 64>",
        ),
        (
            "void at::native::elementwise_kernel<128, 4, at::native::gpu_kernel_impl<at::native::direct_copy_kernel"
            "(at::TensorIteratorBase&)::{lambda()#3}::operator()() const::{lambda(float)#1}>(at::TensorIteratorBase&, "
            "float const&)::{lambda(int)#1}>(int, at::native::gpu_kernel_impl<float>(float)::{lambda(int)#1})",
            "elementwise_kernel<128, 4, gpu_kernel_impl<direct_copy_kernel>>",
        ),
    ],
)
def test_names_of_kernels_are_shortened(name, wanted):
    assert short(name, 80) == wanted


def test_a_name_that_is_too_long_keeps_its_ends():
    name = "sm90_xmma_fprop_implicit_gemm_bf16_nhwc_tilesize128x128x64_cudnn"
    for most in range(9, len(name) + 2):
        found = short(name, most)
        assert len(found) == min(most, len(name))
        head, _, tail = found.partition("…")
        assert name.startswith(head)
        assert name.endswith(tail)


@pytest.mark.parametrize(("files", "match"), [(0, "--files 0"), (201, "the limit is 200")])
def test_mistakes_are_reported_before_anything_is_measured(monkeypatch, files, match):
    monkeypatch.setattr("adacode_cli.benchmark.whole.first_image", None)
    with pytest.raises(UsageError, match=match) as raised:
        bench("--profile", "--files", files)
    assert raised.value.exit_code == 2
    assert "--files" in raised.value.hint
