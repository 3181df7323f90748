"""Devices, precisions, tiles and tilings: what exists is chosen, anything else is refused at once and in words."""

import numpy as np
import pytest
import torch

from adacode_cli.engine.device import INT8, PRECISIONS, choose_device, choose_precision, computes_bf16, name_of
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import DeviceError, UsageError
from adacode_cli.limits import MIN_TILE_PX

CPU = torch.device("cpu")


def test_what_is_chosen_exists():
    assert choose_device("cpu") == CPU
    device = choose_device("auto")
    assert device.type in ("cpu", "cuda", "mps")
    assert torch.ones(2, device=device).sum().item() == 2


@pytest.mark.parametrize(
    "name",
    ["", "gpu", "CPU", "cpu:0", "cpu:", "cuda:", "cuda:x", "cuda:-1", "cuda:٣", "cuda:0:1", "mps:0", "cuda 0", "xla"],
)
def test_names_of_no_device(name):
    with pytest.raises(UsageError) as caught:
        choose_device(name)
    assert caught.value.exit_code == 2
    assert "cuda:0" in caught.value.hint


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:99", "mps"])
def test_devices_that_this_machine_lacks(name):
    kind, _, index = name.partition(":")
    there = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    if int(index or 0) < there:
        assert choose_device(name) == torch.device(name)
        return
    with pytest.raises(DeviceError) as caught:
        choose_device(name)
    assert caught.value.exit_code == 5
    assert caught.value.hint


def test_precision_by_name():
    assert {name: choose_precision(name, CPU, deep=True) for name in PRECISIONS} == {
        "fp32": torch.float32,
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
    }
    for name in ("", "FP32", "float32", "INT8", "fp8"):
        with pytest.raises(UsageError, match="unknown precision") as caught:
            choose_precision(name, CPU, deep=False)
        assert "bf16" in caught.value.hint


def test_precision_by_itself_is_never_short_of_the_image():
    assert choose_precision("auto", CPU, deep=True) == torch.float32
    native = computes_bf16(CPU)
    assert choose_precision("auto", CPU, deep=False) == (torch.bfloat16 if native else torch.float32)
    assert not computes_bf16(torch.device("mps"))


@pytest.mark.parametrize(
    ("amx", "avx512", "maker", "faster"),
    [
        (True, True, "GenuineIntel", True),
        (False, True, "GenuineIntel", False),  # a hypervisor hides AMX
        (False, True, "AuthenticAMD", True),
        (False, False, "AuthenticAMD", False),
    ],
)
@pytest.mark.parametrize("system", ["linux", "windows"])
def test_bf16_is_chosen_only_where_it_is_faster(monkeypatch, tmp_path, amx, avx512, maker, faster, system):
    cpuinfo = tmp_path / "cpuinfo"
    if system == "linux":
        cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {maker}\ncpu family\t: 6\n")
    else:
        monkeypatch.setenv("PROCESSOR_IDENTIFIER", f"x86 Family 6 Model 207 Stepping 2, {maker}")
    monkeypatch.setattr("adacode_cli.engine.device._CPUINFO", cpuinfo)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    assert computes_bf16(CPU) == faster
    assert choose_precision("auto", CPU, deep=False) == (torch.bfloat16 if faster else torch.float32)


@pytest.mark.parametrize(
    ("dot_products", "openvino", "bf16", "psnr_db", "taken"),
    [
        (True, True, False, 45.0, "int8"),
        (True, True, False, 44.99, "fp32"),
        (True, True, False, None, "fp32"),
        (False, True, False, 60.0, "fp32"),
        (True, False, False, 60.0, "fp32"),
        (True, True, True, 60.0, "bf16"),
    ],
)
def test_int8_is_chosen_where_it_is_faster_and_the_weights_state_that_images_are_near(
    monkeypatch, dot_products, openvino, bf16, psnr_db, taken
):
    device = "adacode_cli.engine.device"
    monkeypatch.setattr(f"{device}.has_dot_products", lambda: dot_products)
    monkeypatch.setattr(f"{device}.has_openvino", lambda: openvino)
    monkeypatch.setattr(f"{device}.computes_bf16", lambda device: bf16 and device.type == "cpu")
    assert name_of(choose_precision("auto", CPU, deep=False, int8_psnr_db=psnr_db)) == taken
    for deep, where in ((True, CPU), (False, torch.device("mps"))):
        assert choose_precision("auto", where, deep=deep, int8_psnr_db=psnr_db) == torch.float32
    assert choose_precision("fp32", CPU, deep=False, int8_psnr_db=psnr_db) == torch.float32


def test_every_precision_has_its_name():
    assert {name: name_of(dtype) for name, dtype in (*PRECISIONS.items(), ("int8", INT8))} == {
        name: name for name in ("fp32", "bf16", "fp16", "int8")
    }


def test_a_later_torch_that_does_not_say_what_the_processor_has_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert not computes_bf16(CPU)


@pytest.mark.parametrize("tile", ["auto", "none", "64", 64, 65, "4096", np.int64(512), 10**9])
def test_tiles_that_are_possible(tile):
    assert RunOptions(tile=tile).tile == tile


@pytest.mark.parametrize(
    "tile", ["", "big", "AUTO", "63", 0, 1, 63, -512, "-512", "51.2", 512.0, "5e2", None, "٩٩٩", True]
)
def test_tiles_that_are_not(tile):
    with pytest.raises(UsageError, match="tile") as caught:
        RunOptions(tile=tile)
    assert str(MIN_TILE_PX) in str(caught.value)
    assert "--tile 512" in caught.value.hint


@pytest.mark.parametrize("tiling", ["", "blend", "EXACT", None])
def test_tilings_that_there_are_not(tiling):
    with pytest.raises(UsageError, match="tiling") as caught:
        RunOptions(tiling=tiling)
    assert "sampled" in caught.value.hint
    assert RunOptions(tiling="sampled").tiling == "sampled"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"precision": "double"}, UsageError),
        ({"tile": 8}, UsageError),
        ({"tiling": "blend"}, UsageError),
        ({"device": "tpu"}, UsageError),
        ({"device": "cuda:99"}, DeviceError),
    ],
)
def test_all_of_it_before_weights_are_looked_for(options, error):
    with pytest.raises(error) as caught:
        Restorer.from_pretrained("no-such-weights", **options)
    assert caught.value.hint
