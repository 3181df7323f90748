"""Photographs in folders, and what happens to files that are not."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_families import picture

from adacode_cli.errors import TrainingError
from adacode_cli.training.corpus import PhotoCorpus


def test_categories_are_the_subfolders_and_bad_files_are_listed_with_a_reason(photos, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("not a category")
    (folder / "sky" / "text.jpg").write_text("not a picture")
    whole = (folder / "sky" / "0.png").read_bytes()
    (folder / "sky" / "cut.png").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(folder / "sky" / "small.png"), picture(1, 159, 300))
    corpus = PhotoCorpus(folder, 160)
    assert {name: len(found) for name, found in corpus.photos.items()} == {"ground": 2, "sky": 2}
    assert corpus.num_photos == 4
    reasons = {path.name: reason for path, reason in corpus.left_out.items()}
    assert reasons.keys() == {"text.jpg", "cut.png", "small.png"}
    assert "smaller than 160" in reasons["small.png"]
    assert np.array_equal(corpus.photos["sky"][0], picture(10))


def test_grey_and_16_bit_pictures_become_8_bit_rgb(tmp_path):
    (tmp_path / "all").mkdir()
    deep = np.clip(picture(3) * 257.0 + 100, 0, 65535).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "all" / "deep.png"), deep[..., ::-1])
    cv2.imwrite(str(tmp_path / "all" / "grey.png"), picture(4)[..., 0])
    deep_photo, grey_photo = PhotoCorpus(tmp_path, 64).photos["all"]
    assert np.array_equal(deep_photo, picture(3))
    assert np.array_equal(grey_photo, np.repeat(picture(4)[..., :1], 3, 2))


def test_a_folder_without_categories_is_an_error(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))  # lies in no sub-folder
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(TrainingError, match="no sub-folders with photographs") as found:
            PhotoCorpus(folder, 64)
        assert found.value.path == folder
        assert "<category>" in found.value.hint


def test_a_category_none_of_whose_pictures_can_serve_is_an_error(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "void").mkdir()
    (tmp_path / "photos" / "void" / "a.jpg").write_bytes(b"")
    with pytest.raises(TrainingError, match="all 1 pictures here are unreadable") as found:
        PhotoCorpus(tmp_path / "photos", 64)
    assert found.value.path.name == "void"


def test_more_room_than_the_photographs_have_is_refused(corpus):
    corpus.require_room(160)
    with pytest.raises(TrainingError, match="crops of 161 px"):
        corpus.require_room(161)


@given(st.integers(0, 2**32), st.integers(1, 160), st.sampled_from(["ground", "sky", None]))
def test_crops_are_square_and_come_from_the_photographs(corpus, seed, side, category):
    crop = corpus.crop(np.random.default_rng(seed), category, side)
    assert (crop.shape, crop.dtype, crop.flags.c_contiguous) == ((side, side, 3), np.uint8, True)
    again = corpus.crop(np.random.default_rng(seed), category, side)
    assert np.array_equal(crop, again)


def test_crops_of_the_whole_side_are_the_photograph_turned_or_mirrored(tmp_path):
    (tmp_path / "one").mkdir()
    square = picture(7, 64, 64)
    cv2.imwrite(str(tmp_path / "one" / "a.png"), square[..., ::-1])
    corpus = PhotoCorpus(tmp_path, 64)
    turned = [np.rot90(square, k) for k in range(4)]
    allowed = {image.tobytes() for k in turned for image in (k, k[:, ::-1])}
    found = {corpus.crop(np.random.default_rng(seed), None, 64).tobytes() for seed in range(100)}
    assert found == allowed
