"""Names of files: one part of a path each, whatever a class is called."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from studies.defence.robust_features import file_names, write_image_folder

HOSTILE = ["../../escaped/", "/etc/escaped", "..", ".", "", "a/b", "a:b", "A_b", "nul", "line\nbreak", "x" * 400, "cat"]


def test_hostile_names_are_one_part_of_a_path_each_and_differ():
    found = file_names(HOSTILE)
    assert len({name.lower() for name in found}) == len(HOSTILE)
    assert all(Path(name).name == name and 0 < len(name) <= 110 and name.isprintable() for name in found)
    assert not any(name.startswith(".") or set(name) & set('/\\:*?"<>|') for name in found)
    assert file_names(["cat", "a/b"]) == ["cat", "a-b"]


@pytest.mark.parametrize("names", [None, ["../../escaped", "b"]])
def test_classes_with_paths_in_their_names_stay_in_the_folder(tmp_path, names):
    folder = tmp_path / "a" / "b" / "images"
    paths = write_image_folder(folder, torch.rand(2, 3, 16, 16), [0, 1], ["../../escaped/", "cat"], names)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(written) == sorted(paths)
    assert all(path.parent.parent == folder for path in written)
