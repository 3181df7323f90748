"""A trace written by hand, whose overlaps are known: every share comes out exactly."""

from __future__ import annotations

import json

import pytest
import torch

from adacode_cli.benchmark.stage_times import INFER
from adacode_cli.benchmark.trace import (
    WORK,
    Trace,
    TraceEvent,
    device_use,
    last_kernel_s,
    nested,
    operator_use,
    ranked,
    read_trace,
    traced,
)
from adacode_cli.errors import OutputError

BEGAN_US = 5_025_546_625_000  # microseconds since whenever, as traces have them
HOST, ANOTHER_HOST, STREAM, ANOTHER_STREAM = (9, 1), (9, 2), (0, 7), (0, 13)
H2D, D2H, D2D = "Memcpy HtoD (Pinned -> Device)", "Memcpy DtoH (Device -> Pageable)", "Memcpy DtoD (Device -> Device)"


def trace_event(name, category, thread, start_us, end_us):
    """An event as the profiler writes it; times since the work began."""
    pid, tid = thread
    times = {"ts": BEGAN_US + start_us, "dur": end_us - start_us}
    return {"ph": "X", "cat": category, "name": name, "pid": pid, "tid": tid, **times, "args": {"External id": 1}}


# The work takes 1000 µs.
AROUND = [
    trace_event(WORK, "user_annotation", HOST, 0, 1000),
    trace_event(WORK, "gpu_user_annotation", STREAM, 100, 900),  # what the device does for it, drawn once more
    {"ph": "M", "name": "process_name", "ts": BEGAN_US, "pid": 9, "tid": 0, "args": {"name": "python"}},
    {"ph": "i", "s": "g", "name": "Iteration Start", "pid": "Traces", "tid": "Trace", "ts": BEGAN_US},
    trace_event("PyTorch Profiler (0)", "Trace", ("Spans", "PyTorch Profiler"), -200, 1200),
]
ON_DEVICE = [
    trace_event(H2D, "gpu_memcpy", STREAM, 0, 100),  # nothing else yet
    trace_event("conv", "kernel", STREAM, 100, 400),
    trace_event("conv", "kernel", ANOTHER_STREAM, 300, 500),  # 100 of it beside the one above
    trace_event(H2D, "gpu_memcpy", ANOTHER_STREAM, 450, 550),  # 50 hidden
    # idle for 50
    trace_event("add", "kernel", STREAM, 600, 700),
    trace_event("Memset (Device)", "gpu_memset", STREAM, 700, 710),
    trace_event(D2D, "gpu_memcpy", STREAM, 710, 720),
    trace_event(D2H, "gpu_memcpy", STREAM, 720, 780),
    trace_event(H2D, "gpu_memcpy", ANOTHER_STREAM, 760, 800),  # 20 of it beside the other direction
    # idle for 100
    trace_event("add", "kernel", STREAM, 900, 1100),  # only 100 of it within the work
    trace_event("later", "kernel", STREAM, 1050, 1100),
    trace_event("earlier", "kernel", STREAM, -300, -100),
]
ON_HOST = [
    trace_event("cudaLaunchKernel", "cuda_runtime", HOST, 10, 20),
    trace_event("cuLaunchKernel", "cuda_driver", HOST, 12, 18),  # how the runtime does it
    trace_event("cudaLaunchKernelExC", "cuda_runtime", HOST, 20, 25),
    trace_event("cuLaunchKernelEx", "cuda_driver", ANOTHER_HOST, 12, 18),  # without the runtime
    trace_event("cudaGraphLaunch", "cuda_runtime", ANOTHER_HOST, 30, 40),
    trace_event("cudaLaunchHostFunc", "cuda_runtime", ANOTHER_HOST, 40, 41),
    trace_event("cudaMemcpyAsync", "cuda_runtime", HOST, 50, 60),
    trace_event("cudaMemcpy", "cuda_runtime", HOST, 60, 100),
    trace_event("cudaStreamSynchronize", "cuda_runtime", HOST, 200, 400),
    trace_event("cudaEventSynchronize", "cuda_runtime", ANOTHER_HOST, 300, 500),  # half of it while the other waits too
    trace_event("cudaDeviceSynchronize", "cuda_runtime", HOST, 700, 760),
    trace_event("Stream Sync", "cuda_sync", STREAM, 200, 400),
    trace_event("cudaStreamWaitEvent", "cuda_runtime", HOST, 760, 770),  # the device waits, not the host
]


def trace_of(tmp_path, *events):
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"schemaVersion": 1, "traceEvents": [*events, *AROUND]}), encoding="utf-8")
    return read_trace(path)


def test_shares_of_a_device_are_exact(tmp_path):
    trace = trace_of(tmp_path, *ON_DEVICE, *ON_HOST)
    assert (trace.seconds, trace.thread) == (0.001, HOST)
    use = device_use(trace, 2)
    found = {name: pytest.approx(getattr(use, name), abs=1e-9) for name in vars(use) if name.endswith("_share")}
    assert found == {
        "kernels_share": 0.4 + 0.12 + 0.1,
        "copies_share": 0.1 + 0.1 + 0.08,
        "to_device_share": 0.1 + 0.1 + 0.04,
        "from_device_share": 0.06,
        "hidden_share": 0.05,
        "idle_share": 0.05 + 0.1,
        "waiting_share": 0.04 + 0.3 + 0.06,
        "rest_share": 0.0,
    }
    assert use.kernels_share + use.copies_share - use.hidden_share + use.idle_share == pytest.approx(1)
    assert (use.kernels_per_file, use.launches_per_file, use.waits_per_file) == (6 / 2, 4 / 2, 4 / 2)
    assert last_kernel_s(trace) == pytest.approx(0.0009)


def test_kernels_are_ranked_by_all_their_time(tmp_path):
    use = device_use(trace_of(tmp_path, *ON_DEVICE), 1)
    of_name = {one.name: (one.calls, round(one.seconds * 1e6), round(one.share, 6)) for one in use.kernels}
    assert list(of_name)[:2] == ["conv", "add"]
    assert of_name["conv"] == (2, 500, round(500 / 720, 6))  # side by side both count
    assert of_name["add"] == (2, 200, round(200 / 720, 6))
    assert {D2D, "Memset (Device)"} < set(of_name)
    assert sum(one.share for one in use.kernels) + use.rest_share == pytest.approx(1)


@pytest.mark.parametrize("name", ["cudaMemcpy", "cudaMemcpy2D", "hipMemcpyWithStream", "cuCtxSynchronize"])
def test_calls_that_wait_are_known_by_name(tmp_path, name):
    call = trace_event(name, "cuda_runtime", HOST, 0, 10)
    assert device_use(trace_of(tmp_path, *ON_DEVICE, call), 1).waits_per_file == 1


@pytest.mark.parametrize("name", ["hipLaunchKernel", "hipExtModuleLaunchKernel", "cudaLaunchCooperativeKernel"])
def test_calls_that_launch_are_known_by_name(tmp_path, name):
    call = trace_event(name, "cuda_runtime", HOST, 0, 10)
    use = device_use(trace_of(tmp_path, *ON_DEVICE, call), 1)
    assert (use.launches_per_file, use.waits_per_file) == (1, 0)


def test_a_trace_without_kernels_says_nothing_of_a_device(tmp_path):
    assert device_use(trace_of(tmp_path, *ON_HOST), 1) is None
    assert last_kernel_s(trace_of(tmp_path)) == 0.0


def test_shares_of_operators_are_exact(tmp_path):
    trace = trace_of(
        tmp_path,
        trace_event(INFER, "user_annotation", HOST, 100, 500),
        trace_event(INFER, "user_annotation", HOST, 600, 900),
        trace_event("aten::conv2d", "cpu_op", HOST, 150, 450),
        trace_event("aten::convolution", "cpu_op", HOST, 160, 440),
        trace_event("aten::empty", "cpu_op", HOST, 170, 180),
        trace_event("aten::empty", "cpu_op", HOST, 180, 200),
        trace_event("aten::add", "cpu_op", HOST, 650, 700),
        trace_event("aten::add", "cpu_op", HOST, 920, 940),  # outside the stage
        trace_event("aten::mul", "cpu_op", ANOTHER_HOST, 500, 900),  # not of the thread in question
    )
    use = operator_use(trace)
    assert use.operators_share == pytest.approx(0.35)
    assert use.outside_share == pytest.approx(0.7 - 0.35)
    assert use.waiting_share == pytest.approx(0.3)
    own = {one.name: (one.calls, round(one.seconds * 1e6), round(one.share, 6)) for one in use.operators}
    assert list(own) == ["aten::convolution", "aten::add", "aten::empty", "aten::conv2d"]
    assert own["aten::convolution"] == (1, 250, round(250 / 370, 6))
    assert own["aten::conv2d"] == (1, 20, round(20 / 370, 6))
    assert own["aten::empty"] == (2, 30, round(30 / 370, 6))
    assert use.rest_share == 0


def test_operators_of_other_threads_alone_are_none(tmp_path):
    assert operator_use(trace_of(tmp_path, trace_event("aten::mul", "cpu_op", ANOTHER_HOST, 500, 900))) is None


def test_seconds_within_belong_to_what_lies_deepest():
    thread = (0, 0)
    outer, inner = TraceEvent("outer", "", thread, 0.0, 10.0), TraceEvent("inner", "", thread, 2.0, 6.0)
    deepest, beside = TraceEvent("deepest", "", thread, 3.0, 4.0), TraceEvent("beside", "", thread, 6.0, 7.0)
    elsewhere = TraceEvent("elsewhere", "", (0, 1), 1.0, 9.0)
    found = {event.name: (depth, own) for event, depth, own in nested([deepest, beside, elsewhere, inner, outer])}
    assert found == {
        "outer": (0, 5.0),
        "inner": (1, 3.0),
        "deepest": (2, 1.0),
        "beside": (1, 1.0),
        "elsewhere": (0, 8.0),
    }


def test_ten_names_are_reported_and_the_others_together():
    costs, rest = ranked((f"k{index}", float(index)) for index in range(1, 13) for _ in range(2))
    assert [one.name for one in costs] == [f"k{index}" for index in range(12, 2, -1)]
    assert (costs[0].calls, costs[0].seconds, costs[0].share) == (2, 24.0, 24 / 156)
    assert rest == pytest.approx((1 + 2) * 2 / 156)
    assert ranked([]) == ((), 0.0)


def test_a_trace_that_is_not_whole_is_reported(tmp_path):
    path = tmp_path / "trace.json"
    for content in (None, "", '{"traceEvents": [', '{"traceEvents": []}', "{}"):
        if content is not None:
            path.write_text(content, encoding="utf-8")
        with pytest.raises(OutputError, match="cannot be read") as raised:
            read_trace(path)
        assert "TMPDIR" in raised.value.hint


def test_torch_writes_what_is_read_here():
    conv = torch.nn.Conv2d(3, 8, 3)

    def work():
        with torch.inference_mode():
            for _ in range(3):
                conv(torch.ones(1, 3, 16, 16))

    trace = traced(work, torch.device("cpu"))
    named = [one for one in trace.of("cpu_op") if one.name == "aten::conv2d"]
    assert len(named) == 3
    assert all(0 <= one.start < one.end <= trace.seconds and one.thread == trace.thread for one in named)


def test_the_profiler_is_silent(capfd):
    assert traced(lambda: None, torch.device("cpu")).of("cpu_op") == []
    assert capfd.readouterr() == ("", "")


def test_errors_of_the_work_pass_through():
    with pytest.raises(KeyError):
        traced(lambda: {}["nothing"], torch.device("cpu"))
    assert isinstance(traced(lambda: None, torch.device("cpu")), Trace)  # the profiler is free again


def test_other_devices_work_unseen():
    done = []
    assert traced(lambda: done.append(1), torch.device("mps")) is None
    assert done == [1]
