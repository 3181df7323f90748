"""Networks in 8 bits: near to float32, the same bits with any tiles and threads, and really computed on integers."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_networks import ATTENTIVE, CPU, LAYOUTS, LOCAL, lively, photograph, psnr, restorer, tensor

from adacode_cli.engine import int8
from adacode_cli.engine.device import INT8, choose_precision, has_dot_products, has_openvino
from adacode_cli.engine.halves import halves_of
from adacode_cli.engine.openvino_graph import Recorder, model_of
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.program import decoder_steps
from adacode_cli.engine.restorer import network_digest
from adacode_cli.engine.runner import Runner
from adacode_cli.errors import DeviceError, WeightsError
from adacode_cli.evaluation import calibration
from adacode_cli.evaluation.calibration import convolutions_for, in_eight_bits, measured, through
from adacode_cli.model.blocks import UpBlock
from adacode_cli.model.ranges import WEIGHT_TOP, WEIGHT_TOP_IN_16_BITS, Filters, rounded_weight

pytestmark = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Later tests count threads."""
    yield
    for thread in threading.enumerate():
        if thread.name == "int8":
            thread.join()


ROOT = Path(__file__).parents[2]
NAMES = [
    "compact sr ×4",
    "compact inpaint",
    "compact reconstruct, three levels of codes",
    "published sr ×4",
    "trunk sr ×4",
    "trunk sr ×2, joined last",
    "trunk sr ×4, halved",
]


@cache
def _ranges(config):
    return measured(lively(config), [tensor(config, 64, 72, seed=seed) for seed in (1, 2)])


def calibrated(config):
    """A lively network with ranges that were measured on two photographs."""
    net = lively(config)
    net.ranges = dict(_ranges(config))
    return net


@pytest.fixture(scope="module", params=NAMES)
def net(request):
    return calibrated(LAYOUTS[request.param])


def runner(net, precision="int8", **options):
    return Runner(net, CPU, RunOptions(precision, **options))


def image_and_hole(net, height=40, width=56):
    image = photograph(height, width)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (image, x**2 + y**2 < 0.1) if net.config.mask_channel else (image, None)


def test_the_result_is_that_of_rounded_inputs_and_weights(net):
    x = tensor(net.config, 40, 56, seed=5)
    found = runner(net).run(x, deep=False).image_CHW
    with in_eight_bits(net, net.ranges):
        wanted = through(net, x)[0]
    exact = through(net, x)[0]
    # Where a value lies between two steps, the last bit of a sum decides, so the two need not be equal.
    assert psnr(found, wanted) > 50
    assert psnr(found, exact) > 26
    assert not torch.equal(found, runner(net, "fp32").run(x, deep=False).image_CHW)


@pytest.mark.parametrize("name", ["compact sr ×4", "trunk sr ×4"])
def test_a_network_without_biases_has_that_result_too(name):
    """A sum with zeros is left out of a model, and with it OpenVINO's care for a result that two steps read."""
    net = lively(LAYOUTS[name])
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.bias.detach().zero_()
    x = tensor(net.config, 40, 56, seed=5)
    net.ranges = measured(net, [x])
    with in_eight_bits(net, net.ranges):
        wanted = through(net, x)[0]
    assert psnr(runner(net).run(x, deep=False).image_CHW, wanted) > 50


def filtered(net, ranges):
    """The ranges with filters that clearly differ from those in float32, and give another image."""
    random, found = torch.Generator().manual_seed(7), {}
    for name, conv in convolutions_for(net).items():
        weight, bias = (
            v + 0.1 * v.std(correction=0) * torch.randn(v.shape, generator=random) for v in (conv.weight, conv.bias)
        )
        found[name] = replace(ranges[name], filters=Filters(weight.detach(), bias.detach()))
    return found


@pytest.fixture
def with_filters(net, monkeypatch):
    """The network with filters of their own for all convolutions that run in 8 bits."""
    monkeypatch.setattr(net, "ranges", filtered(net, net.ranges))
    return net


@pytest.mark.parametrize("top", [WEIGHT_TOP, WEIGHT_TOP_IN_16_BITS])
def test_filters_of_their_own_are_used_where_they_fit(with_filters, monkeypatch, top):
    """Rounded to fewer whole numbers than they were made for, they would be worse than the weights for float32."""
    net, x = with_filters, tensor(with_filters.config, 40, 56, seed=5)
    monkeypatch.setattr(int8, "has_dot_products", lambda: top == WEIGHT_TOP)
    monkeypatch.setattr(calibration, "rounded_weight", partial(rounded_weight, top=top))
    with in_eight_bits(net, net.ranges):
        wanted = through(net, x)[0]
    with in_eight_bits(net, {name: replace(one, filters=None) for name, one in net.ranges.items()}):
        without = through(net, x)[0]
    if top != WEIGHT_TOP:
        wanted, without = without, wanted
    found = runner(net).run(x, deep=False).image_CHW
    assert psnr(found, wanted) > 50
    assert psnr(found, wanted) > psnr(found, without) + 10
    tiled = runner(net, tile=64).run(x, deep=False).image_CHW
    assert torch.equal(tiled, found)


def test_float32_does_not_know_of_filters(with_filters):
    x = tensor(with_filters.config, 40, 56, seed=5)
    found = runner(with_filters, "fp32").run(x, deep=False).image_CHW
    with_filters.ranges = {}
    assert torch.equal(runner(with_filters, "fp32").run(x, deep=False).image_CHW, found)


def test_enlarging_convolutions_have_filters_too(with_filters):
    """They are called with another weight than their own, so they are found by their bias in float32."""
    enlarging = {f"{name}.conv" for name, one in with_filters.named_modules() if isinstance(one, UpBlock)}
    mine = enlarging & with_filters.ranges.keys()
    assert mine
    x = tensor(with_filters.config, 40, 56, seed=5)
    found = runner(with_filters).run(x, deep=False).image_CHW
    with_filters.ranges = {
        name: replace(one, filters=None) if name in mine else one for name, one in with_filters.ranges.items()
    }
    assert not torch.equal(runner(with_filters).run(x, deep=False).image_CHW, found)


def test_every_tiling_gives_the_same_bits(net):
    x = tensor(net.config, 40, 56)
    wanted = runner(net, tile="none").run(x, deep=False)
    for tile in (64, 80, "auto"):
        found = runner(net, tile=tile).run(x, deep=False)
        assert torch.equal(found.image_CHW, wanted.image_CHW), tile
        assert torch.equal(found.mixing_KHW, wanted.mixing_KHW), tile
        assert all(torch.equal(a, b) for a, b in zip(found.codes, wanted.codes, strict=True)), tile


@pytest.mark.parametrize("name", ["published inpaint", "norm everywhere", "trunk sr ×4"])
def test_sampled_tiling_runs_in_8_bits_too(name):
    net = calibrated(LAYOUTS[name])
    x = tensor(net.config, 40, 56)
    found, exact = (runner(net, tile=64, tiling=tiling).run(x, deep=False).image_CHW for tiling in ("sampled", "exact"))
    floats = runner(net, "fp32", tile=64, tiling="sampled").run(x, deep=False).image_CHW
    assert psnr(found, floats) > 20
    assert net.config.norm == "group" or torch.equal(found, exact)


def test_one_thread_and_two_give_the_same_bits(net):
    image, hole = image_and_hole(net)
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(runner(net).restore(image, hole).pixels)
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(*results)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_images_of_more_than_8_bits_are_computed_in_float32(dtype):
    net, image = calibrated(LAYOUTS["trunk sr ×4"]), photograph(24, 32, dtype)
    assert np.array_equal(runner(net).restore(image).pixels, runner(net, "fp32").restore(image).pixels)


def test_int8_has_to_be_named(monkeypatch):
    """Its images can differ visibly, so auto does not take it, whatever the processor and the weights can."""
    monkeypatch.setattr("adacode_cli.engine.device.has_dot_products", lambda: True)
    net = calibrated(LAYOUTS["trunk sr ×4"])
    assert not runner(net, "auto").in_eight_bits
    assert runner(net).in_eight_bits


def test_weights_without_ranges_are_refused():
    with pytest.raises(WeightsError, match="no ranges") as error:
        runner(lively(LOCAL))
    assert "weights quantize" in error.value.hint


def test_an_openvino_that_cannot_be_imported_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError, match="cannot be imported"):
        runner(calibrated(LAYOUTS["trunk sr ×4"])).restore(photograph(24, 32))


QUIET = """
import socket, sys, threading
def refuse(*args, **kwargs):
    print("asks the network", args)
    raise OSError("no network")
socket.getaddrinfo = socket.socket.connect = refuse
sys.path.insert(0, sys.argv[1])
from test_engine_int8 import LAYOUTS, calibrated, photograph, runner
runner(calibrated(LAYOUTS["trunk sr ×4"])).restore(photograph(24, 32))
import openvino
print(threading.active_count(), "openvino_telemetry" in sys.modules)
"""


def test_openvino_tells_nobody_that_it_runs(tmp_path):
    """Its import asks a server on the internet, and writes into the home directory, if it is imported as usual."""
    home = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", QUIET, str(Path(__file__).parent)]
    result = subprocess.run(command, env=home, capture_output=True, text=True, check=True)
    assert result.stdout == "1 False\n"
    assert not any(path.name == "intel" for path in tmp_path.rglob("*"))


def test_a_strength_of_noise_removal_without_ranges_is_named():
    source = restorer(LOCAL, precision="int8")
    with pytest.raises(WeightsError, match="full noise removal") as error:
        source.sr(photograph(16, 16), denoise=0.5)
    assert "--denoise" in error.value.hint
    with pytest.raises(WeightsError, match="no ranges"):
        source.sr(photograph(16, 16))


def test_without_openvino_int8_names_the_extra(monkeypatch):
    monkeypatch.setattr("adacode_cli.engine.device.has_openvino", lambda: False)
    with pytest.raises(DeviceError, match="OpenVINO") as error:
        runner(calibrated(LAYOUTS["trunk sr ×4"]))
    assert "adacode-cli[int8]" in error.value.hint


def test_a_model_that_cannot_be_prepared_is_the_devices_fault(monkeypatch):
    class Broken:
        def compile_model(self, *_):
            raise RuntimeError("Exception from core.cpp:117:\nCannot load library x.so\n\n")

    monkeypatch.setattr(int8, "_core", Broken)
    with pytest.raises(DeviceError, match="cannot prepare the network: Cannot load library"):
        runner(calibrated(LAYOUTS["trunk sr ×4"])).restore(photograph(24, 32))


class BrokenModel:
    """A compiled model that cannot compute, as OpenVINO says so."""

    def __init__(self, message):
        self._message = message

    def create_infer_request(self):
        return self

    def set_input_tensor(self, *_):
        pass

    set_output_tensor = set_input_tensor

    def infer(self):
        raise RuntimeError(self._message)

    def release_memory(self):
        pass


def failing(error):
    def fail(*_):
        raise error

    return fail


BREAKS = {
    "graph": (int8, "model_of", failing(TypeError("Exception from node.cpp:1:\nno such operation\n"))),
    "compilation": (int8, "compiled", failing(DeviceError("no kernels", hint="", only_int8=True))),
    "computing": (int8, "compiled", lambda _: BrokenModel("Exception from node.cpp:9:\nno kernel for this size\n")),
}


def auto_takes_int8(name, _device, *, deep, int8_psnr_db=None):
    """What `choose_precision` does on a processor that is made for int8."""
    is_near = name == "int8" or (name == "auto" and (int8_psnr_db or 0) >= 45)
    return INT8 if is_near and not deep else torch.float32


@pytest.mark.parametrize("broken", BREAKS)
def test_auto_goes_on_in_float32_wherever_openvino_fails(monkeypatch, broken):
    monkeypatch.setattr("adacode_cli.engine.runner.choose_precision", auto_takes_int8)
    net, image = calibrated(LAYOUTS["trunk sr ×4"]), photograph(24, 32)
    net.int8_psnr_db = 50.0
    assert runner(net, "auto").restore(image).precision == "int8"
    exact = runner(net, "fp32").restore(image).pixels
    monkeypatch.setattr(*BREAKS[broken])
    auto = runner(net, "auto")
    first, second = auto.restore(image), auto.restore(image)
    assert (first.precision, second.precision) == ("fp32", "fp32")
    assert np.array_equal(first.pixels, exact)
    assert np.array_equal(second.pixels, exact)
    assert "int8 cannot be used" in " ".join(first.notes)
    assert second.notes == ()
    with pytest.raises(DeviceError, match="no "):
        runner(net).restore(image)


def test_memory_that_runs_out_is_not_taken_for_a_failure_of_openvino(monkeypatch):
    monkeypatch.setattr("adacode_cli.engine.runner.choose_precision", auto_takes_int8)
    net = calibrated(LAYOUTS["trunk sr ×4"])
    net.int8_psnr_db = 50.0
    monkeypatch.setattr(int8, "compiled", lambda _: BrokenModel("Exception from src/inference: std::bad_alloc"))
    auto = runner(net, "auto")
    with pytest.raises(Exception, match=r"bad_alloc|out of memory") as error:
        auto.restore(photograph(24, 32))
    assert not getattr(error.value, "only_int8", False)
    assert auto.in_eight_bits


def test_python_still_waits_for_a_compilation_after_ctrl_c_while_it_is_awaited(monkeypatch):
    """Otherwise the process is aborted at exit, instead of ending with 130."""
    may_go_on, test = threading.Event(), threading.get_ident()

    def compiled(_model):
        may_go_on.wait()
        raise RuntimeError("not wanted any more")

    def awaits():
        frame = sys._current_frames()[test]
        while frame is not None and frame.f_code is not int8.EightBit.run.__code__:
            frame = frame.f_back
        return frame is not None

    def ctrl_c():
        while not awaits():
            time.sleep(0.01)
        time.sleep(0.1)  # from the call to the lock that it waits for
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(int8, "compiled", compiled)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        one = runner(calibrated(LAYOUTS["trunk sr ×4"]))
        sender = threading.Thread(target=ctrl_c)
        sender.start()
        with pytest.raises(KeyboardInterrupt):
            one.restore(photograph(24, 32))
        assert [thread.is_alive() for thread in threading.enumerate() if thread.name == "int8"] == [True]
    finally:
        may_go_on.set()
        signal.signal(signal.SIGINT, before)
    sender.join()


def test_only_a_cpu_computes_in_8_bits():
    with pytest.raises(DeviceError, match="CPU only"):
        choose_precision("int8", torch.device("mps"), deep=False)
    assert choose_precision("int8", CPU, deep=False) == INT8
    assert choose_precision("int8", CPU, deep=True) == torch.float32


def layers(net, weight_top=127):
    """Kinds and number types of the operations that OpenVINO runs for the decoder's half."""
    steps, halves = decoder_steps(net, skips=True), halves_of(net, torch.float32)
    recorder = Recorder(net, weight_top)
    part = next(p for p in int8.EightBit(net, halves)._divided(steps, halves.decoder.kept) if p.model is not None)
    model = model_of(part.steps, halves.decoder.shapes, part.inputs, part.outputs, recorder)
    every = int8.compiled(model).get_runtime_model().get_ordered_ops()
    facts = [op.get_rt_info() for op in every]
    return recorder.names, [(f["layerType"].astype(str), f["runtimePrecision"].astype(str)) for f in facts]


@pytest.mark.parametrize("name", ["trunk sr ×4", "compact sr ×4", "compact reconstruct, own decoder"])
def test_convolutions_with_ranges_run_on_integers(name):
    net = calibrated(LAYOUTS[name])
    names, found = layers(net)
    convolutions = [precision for kind, precision in found if kind == "Convolution"]
    assert len(names) == sum(precision in ("u8", "i8") for precision in convolutions) > 3
    # The last convolution, which makes pixels.
    assert len(convolutions) - len(names) == 1


def test_attention_first_and_last_convolution_and_the_search_are_exact():
    net = lively(replace(ATTENTIVE, decoder_depth=1))
    assert set(convolutions_for(net)) == {
        "codebook.after.0",
        "codebook.after.1",
        "decoder.stages.0.conv",
        "decoder.stages.0.body.0.conv1",
        "decoder.stages.0.body.0.conv2",
    }
    trunk = set(convolutions_for(lively(LAYOUTS["trunk sr ×4"])))
    assert {"trunk.body.2", "trunk.body.10", "trunk.join", "encoder.down.0.conv"} <= trunk
    assert not {"trunk.body.0", "trunk.body.12", "decoder.head.conv"} & trunk


def test_codes_are_those_of_float32_without_a_trunk():
    net, x = calibrated(replace(LAYOUTS["compact inpaint"], decoder_depth=2)), None
    x = tensor(net.config, 40, 56)
    found, wanted = (runner(net, p).run(x, deep=False) for p in ("int8", "fp32"))
    changed = [float((a != b).float().mean()) for a, b in zip(found.codes, wanted.codes, strict=True)]
    assert max(changed) == 0


def test_files_of_codes_give_the_same_pixels_as_the_run_that_made_them():
    net = calibrated(LAYOUTS["compact reconstruct, own decoder"])
    eight, image = runner(net), photograph(40, 56)
    coded, _ = eight.encode(image)
    pixels = eight.decode(coded, dtype=np.uint8, grey=False).pixels
    assert np.array_equal(pixels, eight.restore(image).pixels)


def test_the_digest_of_a_network_contains_its_ranges():
    net = calibrated(LAYOUTS["trunk sr ×4"])
    digests, ranges, name = [network_digest(net)], net.ranges, next(iter(net.ranges))
    for changed in (
        {},
        {**ranges, name: replace(ranges[name], zero=(ranges[name].zero + 1) % 256)},
        {**ranges, name: replace(ranges[name], steps_C=ranges[name].steps_C * 1.01)},
    ):
        net.ranges = changed
        digests.append(network_digest(net))
    assert len(set(digests)) == 4
    assert digests[1] == network_digest(lively(LAYOUTS["trunk sr ×4"]))


def test_the_digest_of_a_network_contains_its_filters():
    net = calibrated(LAYOUTS["trunk sr ×4"])
    digests, ranges = [network_digest(net)], filtered(net, net.ranges)
    name, own = next((name, one.filters) for name, one in ranges.items())
    weight, bias = own.weight_OIHW.clone(), own.bias_O.clone()
    weight[0, 0, 0, 0] *= 1.01
    bias[-1] *= 1.01
    for filters in (own, replace(own, weight_OIHW=weight), replace(own, bias_O=bias), None):
        net.ranges = {**ranges, name: replace(ranges[name], filters=filters)}
        digests.append(network_digest(net))
    assert len(set(digests)) == 5


def test_memory_that_runs_out_in_a_model_halves_the_tiles(monkeypatch):
    net, image = calibrated(LAYOUTS["trunk sr ×4"]), photograph(48, 64)
    wanted, real, failed = runner(net).restore(image).pixels, int8.EightBit._infer, []

    def scarce(self, part, inputs, outputs):
        if outputs[0].shape[1] * outputs[0].shape[2] > 160 * 160:
            failed.append(part)
            raise RuntimeError("Exception from src/inference: std::bad_alloc")
        real(self, part, inputs, outputs)

    monkeypatch.setattr(int8.EightBit, "_infer", scarce)
    assert np.array_equal(runner(net, tile="none").restore(image).pixels, wanted)
    assert failed


def test_a_processor_without_dot_products_has_weights_of_7_bits(monkeypatch):
    net, image = calibrated(LAYOUTS["trunk sr ×4"]), photograph(24, 32)
    monkeypatch.setattr(int8, "has_dot_products", lambda: False)
    seen = []
    monkeypatch.setattr(int8, "model_of", lambda *args: seen.append(args[-1].weight_top) or model_of(*args))
    found = runner(net).restore(image).pixels
    assert set(seen) == {63}
    assert psnr(found / 255, runner(net, "fp32").restore(image).pixels / 255) > 28


def test_the_processor_is_asked_once_and_an_older_torch_says_no(monkeypatch):
    has_dot_products.cache_clear()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx_vnni": True}, raising=False)
    assert has_dot_products()
    has_dot_products.cache_clear()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_dot_products()
    has_dot_products.cache_clear()


@pytest.mark.parametrize(
    ("limit", "allowed"),
    [("AVX2", False), ("avx512_core", False), ("SSE41", False), ("AVX2_VNNI", True), ("AVX512_CORE_VNNI", True),
     ("ALL", True), ("", True)],
)  # fmt: skip
def test_a_limit_on_instructions_counts(monkeypatch, limit, allowed):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True}, raising=False)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.setenv(name, limit)
        has_dot_products.cache_clear()
        assert has_dot_products() == allowed
        monkeypatch.delenv(name)
    has_dot_products.cache_clear()


@pytest.mark.parametrize(
    ("version", "found"), [("2026.4.1", True), ("2027.0.0", True), ("2026.3", False), ("x", False)]
)
def test_an_older_openvino_counts_as_none(monkeypatch, version, found):
    has_openvino.cache_clear()
    monkeypatch.setattr("adacode_cli.engine.device.metadata.version", lambda _: version)
    assert has_openvino() == found
    has_openvino.cache_clear()
