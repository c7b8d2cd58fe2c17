"""Rows of studies: read by the names of their columns, whole after a kill, safe beside other processes."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from studies.harness import StudyError
from studies.harness.rows import append_rows, chosen, read_rows

ROW = {"picture": "F16", "step": 3, "psnr": 30.123456789, "kept": "1 2 3"}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "results" / "a-smoke.csv"


def test_rows_come_back_as_numbers_and_words(path):
    assert read_rows(path) == []
    append_rows(path, [ROW])
    append_rows(path, [{"picture": "Lena, gray", "step": 4, "psnr": math.nan, "kept": ""}])
    first, second = read_rows(path)
    assert first == {"picture": "F16", "step": 3, "psnr": 30.1235, "kept": "1 2 3"}
    assert (second["picture"], math.isnan(second["psnr"])) == ("Lena, gray", True)


@pytest.mark.parametrize("word", ["12e45678901234", "0012", "1_000", "4845a02a35ba", "infinity", "+3"])
def test_words_that_look_like_numbers_stay_words(path, word):
    append_rows(path, [{"word": word}])
    assert read_rows(path)[0]["word"] == word


@pytest.mark.parametrize("number", [0, -3, 1e-07, 1e20, -2.5, 39.85])
def test_numbers_come_back(path, number):
    append_rows(path, [{"number": number}])
    assert read_rows(path)[0]["number"] == number


def test_a_changed_order_of_columns_puts_no_value_elsewhere(path):
    append_rows(path, [ROW])
    append_rows(path, [{name: ROW[name] for name in reversed(ROW)}])
    first, second = read_rows(path)
    assert first == second


def test_a_file_whose_columns_were_moved_is_read_and_gone_on_with(path):
    path.parent.mkdir()
    path.write_text("kept,psnr,step,picture\n1 2 3,30.1235,3,F16\n")
    append_rows(path, [ROW])
    first, second = read_rows(path)
    assert first == second == {"picture": "F16", "step": 3, "psnr": 30.1235, "kept": "1 2 3"}


def test_an_added_column_does_no_harm(path):
    path.parent.mkdir()
    path.write_text("picture,note,step,psnr,kept\nF16,fine,3,30.1235,1 2 3\n")
    append_rows(path, [ROW])
    assert [row["note"] for row in read_rows(path)] == ["fine", ""]


def test_an_unknown_or_missing_column_is_one_clear_line(path):
    append_rows(path, [ROW])
    before = path.read_bytes()
    with pytest.raises(
        StudyError, match=r"a-smoke\.csv has no column 'threads': add it to the first line, or move"
    ) as error:
        append_rows(path, [{**ROW, "threads": 2}])
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    with pytest.raises(StudyError, match=r"a-smoke\.csv has no column 'blind': it has picture, step, psnr, kept"):
        read_rows(path)[0]["blind"]
    with pytest.raises(StudyError, match="no column 'blind'"):
        (read_rows(path)[0] | {"more": 1})["blind"]


def test_a_line_torn_anywhere_is_dropped_and_the_study_goes_on(path):
    for step in range(3):
        append_rows(path, [{**ROW, "step": step}])
    content = path.read_bytes()
    last = content.rindex(b"F16")
    for size in range(last + 1, len(content)):
        path.write_bytes(content[:size])
        assert [row["step"] for row in read_rows(path)] == [0, 1]
        append_rows(path, [{**ROW, "step": 2}])
        assert path.read_bytes() == content


def test_a_short_last_line_is_dropped_and_one_in_the_midst_is_said(path):
    append_rows(path, [ROW, ROW])
    whole = path.read_text()
    path.write_text(whole + "F16,3\n")
    assert len(read_rows(path)) == 2
    append_rows(path, [ROW])
    assert path.read_text() == whole + whole.splitlines(keepends=True)[1]
    path.write_text(whole + "F16,3\n" + whole.splitlines(keepends=True)[1])
    with pytest.raises(StudyError, match="line 4 has 2 values for 4 columns"):
        read_rows(path)


def test_a_torn_header_is_no_header(path):
    path.parent.mkdir()
    path.write_text("picture,st")
    append_rows(path, [ROW])
    assert len(read_rows(path)) == 1


def test_rows_are_chosen_by_value_whatever_its_type(path):
    append_rows(path, [{"eps": 5.0, "picture": 3}, {"eps": 0.25, "picture": 30}])
    assert [row["picture"] for row in chosen(read_rows(path), eps=5)] == [3]
    assert read_rows(path, picture="30", eps=0.25)[0]["eps"] == 0.25


KEEPING = """
import sys
from pathlib import Path
from studies.harness.rows import append_rows
print("ready", flush=True)
sys.stdin.readline()
for k in range(50):
    append_rows(Path(sys.argv[1]), [{"process": sys.argv[2], "row": k}])
"""


def test_processes_that_keep_rows_at_once_lose_none(path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    command = [sys.executable, "-c", KEEPING, str(path)]
    processes = [subprocess.Popen([*command, name], env=environment, **pipes) for name in "ab"]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    rows = read_rows(path)
    assert sorted((row["process"], row["row"]) for row in rows) == [(name, k) for name in "ab" for k in range(50)]
