"""A model card says what the run recorded, in valid Markdown, and calls the rest unknown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from finished_run import LOGS, MANIFEST, PROVENANCE, RECIPE, network_of, save_record
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from adacode_cli.checkpoints.format import Weights, write_weights
from adacode_cli.errors import TrainingError
from adacode_cli.training.model_card import BundledFamily, BundledFile, model_card
from adacode_cli.training.run_record import RunRecord, StageRecord, figure, mapping, read_run
from adacode_cli.version import __version__

HEADINGS = [
    "The mine weights",
    "Files",
    "How to use",
    "Training data",
    "How it was trained",
    "Validation",
    "Use of the codes",
    "Limits",
]
ELSEWHERE = Path("nowhere")
NOTHING = RunRecord(ELSEWHERE)
WHOLE = RunRecord(ELSEWHERE, tuple(StageRecord(name, tuple(lines)) for name, lines in LOGS.items()), RECIPE, MANIFEST)
PARTS = {"basis": "fused", "fused": "fused", "reconstruct": "fused", "sr-x2": "sr-x2", "sr-x4": "sr-x4"}
FAMILY = BundledFamily(
    "mine",
    [
        BundledFile(name, f"mine-{name}.safetensors", 1000 + i, 2000000 + i, 0, network_of(source).config, PROVENANCE)
        for i, (name, source) in enumerate(PARTS.items())
    ],
    "fp16",
)
BASE = "realesr-general-x4v3 (BSD-3-Clause, xinntao/Real-ESRGAN)"


def stating(family: BundledFamily, *names: str, **provenance: str) -> BundledFamily:
    """The family, of which the parts called `names` (or all) state something else."""
    parts = [
        replace(p, provenance=replace(p.provenance, **provenance)) if not names or p.name in names else p
        for p in family.parts
    ]
    return replace(family, parts=parts)


def parsed(card: str) -> tuple[list[str], list[list[list[str]]]]:
    """A card as CommonMark with tables reads it: its headings, and each table as rows of cells."""
    tokens = MarkdownIt("commonmark").enable("table").parse(card)
    headings, tables, at = [], [], None
    for token in tokens:
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("heading_open", "th_open", "td_open"):
            at = token.type
        elif token.type == "inline" and at:
            assert {child.type for child in token.children} <= {"text", "code_inline"}, token.content
            text = "".join(child.content for child in token.children)
            (headings if at == "heading_open" else tables[-1][-1]).append(text)
            at = None
    return headings, tables


def tables_of(record: RunRecord, family: BundledFamily = FAMILY) -> list[list[list[str]]]:
    headings, tables = parsed(model_card(family, record))
    assert headings == HEADINGS
    for table in tables:
        assert len({len(row) for row in table}) == 1
    return tables


def test_everything_that_was_recorded_is_reported():
    summary, files, data, crops, runs, validation, codes = tables_of(WHOLE)
    assert dict(summary[1:]) == {
        "licence": "Apache-2.0",
        "stored as": "safetensors, fp16",
        "trained on": "4 images",
        "made by": "a test",
        "trained with": "adacode 0.1.0",
        "bundled with": f"adacode {__version__}",
        "preset": "small",
        "seed": "7",
        "precision": "bf16",
        "perceptual network in training": "lpips-vgg.safetensors",
    }
    assert [row[0] for row in files[1:]] == [f"mine-{name}.safetensors" for name in PARTS]
    assert files[5] == [
        "mine-sr-x4.safetensors",
        "super-resolution ×4: the tensors of this task only",
        "2,000,004",
        "1,004",
    ]
    assert dict(data[1:]) == {
        "photographs": "1,234",
        "megapixels": "57",
        "source": "a camera",
        "licence of the photographs": "CC0-1.0",
        "side of a stored crop (px)": "512",
        "photographs left out": "5 blurred, 17 small",
    }
    assert crops[1:] == [["ground", "40", "3"], ["sky", "2,000", "8"]]
    assert runs[1:] == [
        ["basis-start", "4", "0.5", "3", "64", "pixel 1, codebook 0.5"],
        ["basis-ground", "5", "1.5", "3", "64", "pixel 1, codebook 0.5"],
        ["basis-sky", "6", "2.0", "3", "64", "pixel 1"],  # its log has no other loss
        ["fused", "10", "1.0", "5", "128", "pixel 1"],
        ["sr-x2", "50", "1.0", "6", "192", "feature 0.125"],
        ["sr-x4", "250", "6.1", "6", "192", "feature 0.125"],
    ]
    assert validation[1:] == [
        ["reconstruction", "11.00", "not measured", "not measured", "unknown", "5"],
        ["super-resolution ×2", "not measured", "not measured", "not measured", "unknown", "unknown"],
        ["super-resolution ×4", "25.68", "0.6543", "0.3000", "unknown", "200"],
    ]
    assert codes[1:] == [["ground", "6", "50%", "3"], ["sky", "5", "100%", "not measured"]]
    card = model_card(FAMILY, WHOLE)
    assert "The shards hold 11 crops back for it." in card
    assert "    adacode sr photos --weights DIR\n" in card
    assert "adacode inpaint" not in card  # the family has no such task
    assert "/home/someone" not in card


def test_settings_are_those_that_a_file_carries_not_those_of_the_last_command(tmp_path):
    """Every command on a run folder writes recipe.json anew."""
    save_record(tmp_path)
    own = RECIPE | {"restore": RECIPE["restore"] | {"batch": 9, "loss": {"feature": 0.5}}}
    network = network_of("sr-x4")
    carried = replace(PROVENANCE, recipe=json.dumps(own))
    write_weights(tmp_path / "sr-x4.safetensors", Weights("whole", network.config, carried, network.state_dict()))
    runs = tables_of(read_run(tmp_path))[4]
    assert runs[-2:] == [
        ["sr-x2", "50", "1.0", "6", "192", "feature 0.125"],
        ["sr-x4", "250", "6.1", "9", "192", "feature 0.5"],
    ]


def test_what_was_not_recorded_is_called_unknown():
    family = stating(FAMILY, licence="", trained_on="", source="")
    summary, files, runs, validation, codes = tables_of(NOTHING, family)
    assert dict(summary[1:])["licence"] == "not stated"
    assert {dict(summary[1:])[name] for name in ("preset", "trained on", "made by")} == {"unknown"}
    assert len(files) == 1 + len(PARTS)
    assert [row[0] for row in runs[1:]] == ["basis-ground", "basis-sky", "fused", "sr-x2", "sr-x4"]
    assert {cell for row in runs[1:] for cell in row[1:]} == {"unknown"}
    assert {cell for row in validation[1:] for cell in row[1:4]} == {"not measured"}
    assert {cell for row in codes[1:] for cell in row[2:]} == {"not measured"}
    card = model_card(family, NOTHING)
    assert "Unknown: the run kept no manifest of its photographs." in card
    assert "How many crops were held back is unknown." in card


def test_files_that_start_from_weights_of_others_say_so_and_the_rest_does_not():
    family = stating(FAMILY, "sr-x2", "sr-x4", base_model=BASE, base_licence="BSD-3-Clause")
    card = model_card(family, WHOLE)
    headings, tables = parsed(card)
    assert headings == [*HEADINGS[:3], "Base models", *HEADINGS[3:]]
    shared, own = ", ".join(f"mine-{name}.safetensors" for name in ("basis", "fused", "reconstruct")), tables[2][1:]
    restoring = "mine-sr-x2.safetensors, mine-sr-x4.safetensors"
    assert dict(tables[0][1:])["licence"] == f"{shared}: Apache-2.0; {restoring}: Apache-2.0 AND BSD-3-Clause"
    assert own == [[f"mine-sr-x{scale}.safetensors", BASE, "BSD-3-Clause", "LICENSE.Real-ESRGAN"] for scale in (2, 4)]
    data = card[card.index("## Training data") : card.index("## How it was trained")]
    assert "`mine-sr-x2.safetensors`, `mine-sr-x4.safetensors` were trained before, on other data" in data
    assert "Base models" not in model_card(FAMILY, WHOLE)
    assert "trained before" not in model_card(FAMILY, WHOLE)


def test_a_base_model_that_states_no_licence_and_has_no_notice_here():
    family = stating(FAMILY, "sr-x4", base_model="found.pth")
    summary, _, bases = parsed(model_card(family, NOTHING))[1][:3]
    assert dict(summary[1:])["licence"].endswith("mine-sr-x4.safetensors: Apache-2.0 AND LicenseRef-not-stated")
    assert bases[1:] == [["mine-sr-x4.safetensors", "found.pth", "LicenseRef-not-stated", "ask its authors"]]


def test_files_that_learnt_from_different_photographs_each_keep_their_statement():
    family = stating(FAMILY, "sr-x4", trained_on="9 others", source="mean of 0.7 of a and 0.3 of b")
    summary = dict(tables_of(WHOLE, family)[0][1:])
    rest = ", ".join(f"mine-{name}.safetensors" for name in PARTS if name != "sr-x4")
    assert summary["trained on"] == f"{rest}: 4 images; mine-sr-x4.safetensors: 9 others"
    assert summary["made by"] == f"{rest}: a test; mine-sr-x4.safetensors: mean of 0.7 of a and 0.3 of b"


def test_the_number_of_validation_crops_is_the_logs():
    line = {"step": 3, "validation/psnr": 20, "validation/crops": 64}
    assert tables_of(RunRecord(ELSEWHERE, (StageRecord("sr-x2", (line,)),)))[3][2] == [
        "super-resolution ×2",
        "20.00",
        "not measured",
        "not measured",
        "64",
        "3",
    ]


@given(text=st.text() | st.text("\\`*_[]()<>|&;~#!-+=.:/ ab1\n"))
@example("a | b").via("would part the cell")
@example("<b>*a* _b_ `c` [d](e) &amp; ~~f~~ \\| http://g.h")
def test_any_text_stays_text_in_its_cell(text):
    manifest = MANIFEST | {"source": text, "crops": {"train": {text: 4}, "validation": {}}}
    _, _, data, crops, *_ = tables_of(RunRecord(ELSEWHERE, (), RECIPE, manifest))
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    assert dict(data[1:])["source"] == (shown or ("" if text else "unknown"))
    assert crops[1] == [shown, "4", "0"]
    model_card(FAMILY, RunRecord(ELSEWHERE, (), RECIPE, manifest)).encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def objects(*keys: str) -> st.SearchStrategy[dict]:
    return st.dictionaries(st.sampled_from(keys), json_values)


@given(
    recipe=objects("preset", "seed", "basis", "fuse", "restore", "perceptual"),
    stage=objects("batch", "patch", "loss"),
    manifest=objects("photographs", "megapixels", "licence", "crops", "left_out"),
    crops=objects("train", "validation"),
    line=objects("step", "seconds", "validation/psnr", "validation/crops", "used/sky", "perplexity/ground"),
)
def test_a_strange_record_makes_a_card_all_the_same(recipe, stage, manifest, crops, line):
    record = RunRecord(
        ELSEWHERE, (StageRecord("fused", (line,)),), recipe | {"fuse": stage}, manifest | {"crops": crops}
    )
    card = model_card(FAMILY, record)
    assert parsed(card)[0] == HEADINGS
    assert model_card(FAMILY, record) == card


def test_a_record_is_read_from_a_folder_and_half_a_line_passed_over(tmp_path):
    save_record(tmp_path)
    (tmp_path / "inpaint.jsonl").write_bytes(b'\xff\n[1]\n3\n\n{"step": 2, "seconds": NaN}\n')
    record = read_run(tmp_path)
    assert model_card(FAMILY, record) == model_card(FAMILY, WHOLE)
    assert (record.last("inpaint", "step"), record.last("inpaint", "seconds")) == (2, None)
    assert len(record.lines("sr-x4")) == len(LOGS["sr-x4"])
    record.require_undamaged()
    (tmp_path / "empty").mkdir()
    empty = read_run(tmp_path / "empty")
    empty.require_undamaged()
    assert replace(empty, folder=ELSEWHERE) == NOTHING


@pytest.mark.parametrize("name", ["recipe.json", "shards.json"])
@pytest.mark.parametrize("data", [b"{", b"\xff", b"[]", b"null"])
def test_a_damaged_record_is_named(tmp_path, name, data):
    save_record(tmp_path)
    (tmp_path / name).write_bytes(data)
    record = read_run(tmp_path)
    with pytest.raises(TrainingError, match="JSON") as caught:
        record.require_undamaged()
    assert caught.value.path == tmp_path / name
    assert caught.value.hint


@given(value=json_values)
def test_numbers_and_objects_are_distinguished_from_all_else(value):
    again = json.loads(json.dumps(value))
    assert mapping(again) == (again if isinstance(again, dict) else {})
    found = figure(again)
    assert found is None or (f"{found / 60:.1f}" and f"{round(found):,}")
    assert figure(True) is None
    assert figure(float("inf")) is figure(float("nan")) is figure(10**400) is None
    assert figure(0) == 0
