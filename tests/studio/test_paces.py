"""Paces: what a task took is kept, and a file that cannot be used is as if there were none."""

from __future__ import annotations

import json

import pytest

from preimage.studio.paces import Paces

REPORT = {"size": [40, 50], "seconds": 6.0}


def test_a_pace_is_of_a_pixel_of_each_page_and_the_last_one_counts(tmp_path):
    paces = Paces(tmp_path / "paces.json")
    paces.learn("denoise", REPORT)
    assert paces.of == {"denoise": pytest.approx(0.003)}
    paces.learn("denoise", REPORT | {"pages": 3})
    paces.learn("inpaint", REPORT)
    assert paces.of == {"denoise": pytest.approx(0.001), "inpaint": pytest.approx(0.003)}
    assert Paces(paces.path).of == paces.of


@pytest.mark.parametrize(
    "report", [{}, {"size": [4, 5]}, {"size": None, "seconds": 3.0}, {"size": [4, 5], "seconds": 0.0}]
)
def test_a_report_without_size_or_seconds_teaches_nothing(tmp_path, report):
    paces = Paces(tmp_path / "paces.json")
    paces.learn("denoise", report)
    assert paces.of == {}
    assert not paces.path.exists()


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "3", json.dumps({"denoise": "fast"})])
def test_a_file_that_cannot_be_used_is_as_if_there_were_none(tmp_path, content):
    path = tmp_path / "paces.json"
    path.write_text(content)
    paces = Paces(path)
    assert paces.of == {}
    paces.learn("denoise", REPORT)
    assert Paces(path).of == paces.of
