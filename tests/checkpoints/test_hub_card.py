"""The metadata of a repository's card: what the Hub accepts, and what huggingface_hub reads back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hub_repositories import problems_of_card
from huggingface_hub import ModelCard

from adacode_cli.checkpoints.catalogue import Catalogue, Entry, WeightsFile
from adacode_cli.checkpoints.catalogue_file import weights_folder
from adacode_cli.checkpoints.figures import Figures, figures_in
from adacode_cli.checkpoints.format import Provenance
from adacode_cli.checkpoints.hub_card import card_of, licence_metadata
from adacode_cli.checkpoints.location import HubRepo
from adacode_cli.checkpoints.publication import Family, Part, Publication, Sent, collected
from adacode_cli.errors import WeightsError

REPO = HubRepo("me/mine", None)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("Apache-2.0", ("apache-2.0",)),
        ("CC0-1.0", ("cc0-1.0",)),
        ("MIT", ("mit",)),
        ("GPL-3.0-only", ("gpl-3.0",)),
        ("GPL-3.0-or-later", ("other", "gpl-3.0-or-later", "LICENSE")),
        ("Apache-2.0 AND BSD-3-Clause", ("other", "apache-2.0-and-bsd-3-clause", "LICENSE")),
        ("All rights reserved © Me, 2026!", ("other", "all-rights-reserved-me-2026", "LICENSE")),
        ("其他", ("other", "stated-in-the-files", "LICENSE")),
        ("x" * 300, ("other", "x" * 80, "LICENSE")),
    ],
)
def test_a_licence_is_of_the_hubs_list_or_has_a_name_and_a_link(stated, expected):
    assert tuple(licence_metadata(stated).values()) == expected


def publication(folder: Path, *families: str, licence: str = "MIT", **provenance: str) -> Publication:
    """What is sent of families with one task each."""
    stated = Provenance(trained_on="4 images", licence=licence, source="a test", **provenance)
    entries, files, parts = [], [], []
    for family in families:
        name = f"{family}-sr-x4.safetensors"
        sent = Sent.of_content(name, family.encode())
        files.append(WeightsFile(name, sent.size, sent.sha256))
        entries.append(Entry(f"{family}-sr-x4", family, "sr", 4, (name,), licence, "a test", "bundled"))
        parts.append(Part(sent, replace(stated, family=family)))
    groups = [Family(name, [e for e in entries if e.family == name], f"# About {name}\n") for name in families]
    return Publication(folder, Catalogue(tuple(entries), tuple(files), None, None), parts, groups, licence, ())


def test_names_on_the_hub_are_found_in_what_the_weights_state(tmp_path):
    one = publication(
        tmp_path,
        "mine",
        base_model="start (MIT, hub:some/start) and other (MIT, github.com/x/other)",
        base_licence="MIT",
    )
    stated = replace(one.parts[0].provenance, trained_on="9 photographs; source: https://huggingface.co/datasets/a/b.")
    text, _ = card_of(replace(one, parts=[replace(one.parts[0], provenance=stated)]), REPO, [], ["more/base"])
    data = ModelCard(text).data
    assert (data.base_model, data.datasets) == (["more/base", "some/start"], ["a/b"])
    assert problems_of_card(text) == []


def test_several_families_are_named_in_the_commands(tmp_path):
    text, files = card_of(publication(tmp_path, "one", "two"), HubRepo("me/mine", "v1"), [])
    assert "adacode sr photos --weights hub:me/mine@v1/one\n" in text
    assert "adacode sr photos --weights hub:me/mine@v1/two\n" in text
    assert "## About one\n" in text
    assert [file.name for file in files] == ["README.md"]
    assert 'Restorer.from_pretrained("me/mine")' in card_of(publication(tmp_path, "one"), REPO, [])[0]


def test_texts_of_strangers_cannot_change_the_metadata(tmp_path):
    hostile = "MIT\n---\nlicense: cc0-1.0\n"
    text, files = card_of(publication(tmp_path, "one", licence=hostile), REPO, [])
    assert (ModelCard(text).data.license, ModelCard(text).data.license_name) == ("other", "mit-license-cc0-1.0")
    assert problems_of_card(text) == []
    assert files[1].source == (
        b"The files of weights in this repository are under the licences that they state:\n\n"
        b"one-sr-x4.safetensors: MIT --- license: cc0-1.0\n"
    )


def test_a_licence_file_that_the_folder_has_is_the_link(tmp_path):
    one = replace(publication(tmp_path, "one", licence="Mine"), others=[Sent.of_content("LICENSE", b"mine")])
    text, files = card_of(one, REPO, [])
    assert ModelCard(text).data.license_link == "LICENSE"
    assert [file.name for file in files] == ["README.md"]


FIGURES = {
    "version": 1,
    "task": "sr",
    "scale": 4,
    "denoise": 0.5,
    "weights": "/home/me/mine",
    "weights_sha256": "a" * 64,
    "perceptual": "/home/me/lpips.safetensors",
    "images": 51,
    "restored": {"psnr": 25.70321, "ssim": 0.67712, "perceptual": 0.24701},
    "baseline_method": "bicubic",
    "baseline": {"psnr": 25.05, "ssim": 0.645, "perceptual": 0.369},
}


def test_figures_become_a_model_index(tmp_path):
    (tmp_path / "Set 14.eval.json").write_text(json.dumps(FIGURES), encoding="utf-8")
    figures = figures_in(tmp_path, lambda _: "a" * 64)
    text, _ = card_of(publication(tmp_path, "mine"), REPO, figures)
    assert problems_of_card(text) == []
    found = ModelCard(text).data.eval_results
    assert [(one.metric_type, one.metric_value) for one in found] == [
        ("psnr", 25.7032),
        ("ssim", 0.6771),
        ("lpips", 0.247),
    ]
    assert {one.task_name for one in found} == {"super-resolution ×4, denoise 0.5"}
    assert "/home" not in text
    assert "| LPIPS, lpips.safetensors | 0.2470 | 0.3690 (bicubic) |" in text


@pytest.mark.parametrize(
    "change",
    [
        {"task": "colour"},
        {"scale": 3},
        {"images": 0},
        {"images": True},
        {"weights_sha256": "x"},
        {"restored": {"psnr": None}},
        {"restored": {"psnr": "25", "ssim": None, "perceptual": None}},
        {"restored": []},
        {"baseline": {"psnr": 25.0}},
        {"baseline": {"psnr": 25.0, "ssim": None, "perceptual": None}},
        {"baseline_method": 3},
        {"denoise": "all"},
        {"perceptual": 3},
    ],
    ids=str,
)
def test_damaged_figures_are_refused(tmp_path, change):
    (tmp_path / "a.eval.json").write_text(json.dumps(FIGURES | change), encoding="utf-8")
    with pytest.raises(WeightsError, match="is not what") as caught:
        figures_in(tmp_path, lambda _: "a" * 64)
    assert caught.value.path == tmp_path / "a.eval.json"


def test_figures_of_a_digest_are_of_the_weights_with_it(tmp_path):
    (tmp_path / "a.eval.json").write_text(json.dumps(FIGURES), encoding="utf-8")
    asked: list[Figures] = []

    def digest_of(figures: Figures) -> str:
        asked.append(figures)
        return "b" * 64

    with pytest.raises(WeightsError, match="other weights"):
        figures_in(tmp_path, digest_of)
    assert [(one.task, one.scale, one.denoise) for one in asked] == [("sr", 4, 0.5)]


@pytest.mark.skipif(not (weights_folder() / "compact-sr-x4.safetensors").is_file(), reason="no bundled weights")
def test_the_bundled_weights_can_be_published():
    one = collected(weights_folder())
    names = {file.name for file in one.files}
    assert {"compact-basis.safetensors", "compact-prior.safetensors", "LICENSE.Real-ESRGAN", "compact.md"} <= names
    assert not [name for name in names if name.endswith(".pth")]
    text, files = card_of(one, REPO, [])
    assert problems_of_card(text) == []
    data = ModelCard(text).data
    assert (data.license, data.license_name) == ("other", "apache-2.0-and-bsd-3-clause")
    licence = next(file.source for file in files if file.name == "LICENSE").decode()
    assert "https://spdx.org/licenses/BSD-3-Clause.html" in licence
    assert "compact-sr-x4.safetensors: Apache-2.0 AND BSD-3-Clause" in licence
