"""Studies: each runs at scale smoke with no picture at hand, writes its rows as they come, and goes on from them."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from preimage.errors import InputError
from preimage.studies import SHARED, STUDIES, run_study
from preimage.studies.scales import Study, center_crop, generated_picture, markdown_table, with_gaussian_noise

each_study = pytest.mark.parametrize("name", STUDIES)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch, tmp_path):
    """Nothing but what is generated, and nothing written where we stand."""
    monkeypatch.delenv("PREIMAGE_DATA", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def table_of(folder: Path, name: str) -> Path:
    return folder / "results" / f"{name}-smoke.csv"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> dict[str, Path]:
    """The folder of each study that was run once, at scale smoke."""
    return {}


@pytest.fixture
def folder(finished, name, tmp_path_factory) -> Path:
    """Where this study has been run."""
    if name not in finished:
        place = tmp_path_factory.mktemp(name)
        assert run_study(name, scale="smoke", output=place) == place / "results.md"
        finished[name] = place
    return finished[name]


@each_study
def test_smoke_writes_a_section_and_its_rows(folder, name):
    rows = rows_of(table_of(folder, name))
    assert rows
    assert all(None not in row.values() for row in rows)
    assert all(None not in row for row in rows)
    text = (folder / "results.md").read_text()
    assert text.startswith("# Results")
    assert text.count(f"<!-- begin {name} -->") == text.count(f"<!-- end {name} -->") == 1
    section = text.split(f"<!-- begin {name} -->")[1].split(f"<!-- end {name} -->")[0]
    assert section.strip().startswith("## ")
    assert len(section.split()) > 20


@each_study
def test_it_writes_nothing_elsewhere_and_leaves_nothing_half_done(folder, name, tmp_path):
    assert list((tmp_path / "here").iterdir()) == []
    left = [p.name for p in folder.rglob("*") if p.suffix in (".checkpoint", ".partial")]
    assert left == []


@each_study
def test_a_second_run_repeats_no_row(folder, name):
    table = table_of(folder, name)
    before, text = table.read_bytes(), (folder / "results.md").read_text()
    run_study(name, scale="smoke", output=folder)
    assert table.read_bytes() == before
    assert (folder / "results.md").read_text() == text


@each_study
def test_it_goes_on_from_the_rows_that_are_there(folder, name, tmp_path):
    """Broken off after its first row, a study ends with the rows of one that was not, those known before as they were."""
    whole = rows_of(table_of(folder, name))
    lines = table_of(folder, name).read_text().splitlines(keepends=True)
    table = table_of(tmp_path, name)
    table.parent.mkdir(parents=True)
    table.write_text("".join(lines[:2]))
    run_study(name, scale="smoke", output=tmp_path)
    assert table.read_text().startswith("".join(lines[:2]))
    resumed = rows_of(table)
    assert len(resumed) == len(whole)
    said = [[v for k, v in row.items() if "seconds" not in k] for row in (*whole, *resumed)]
    assert said[: len(whole)] == said[len(whole) :]


@pytest.mark.parametrize("name", SHARED)
def test_several_processes_share_a_study(folder, name, tmp_path):
    """Each does its share; a last call finds all rows there, and writes the section that one process writes."""
    for k in range(2):
        shown = run_study(name, scale="smoke", output=tmp_path, worker=(k, 2))
        assert shown == table_of(tmp_path, name)
    assert not (tmp_path / "results.md").exists()
    before = table_of(tmp_path, name).read_bytes()
    run_study(name, scale="smoke", output=tmp_path)
    assert table_of(tmp_path, name).read_bytes() == before
    said = [
        sorted(str([v for k, v in row.items() if "seconds" not in k]) for row in rows_of(table_of(where, name)))
        for where in (folder, tmp_path)
    ]
    assert said[0] == said[1]
    assert (tmp_path / "results.md").exists()


KEEPING = """
import sys
from pathlib import Path
from preimage.studies.scales import Study
study = Study("a", "smoke", None, Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for k in range(50):
    study.keep({"process": sys.argv[2], "row": k})
"""


def test_processes_that_keep_rows_at_once_lose_none(tmp_path):
    command = [sys.executable, "-c", KEEPING, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    processes = [subprocess.Popen([*command, name], **pipes) for name in "ab"]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    rows = rows_of(table_of(tmp_path, "a"))
    assert sorted((row["process"], int(row["row"])) for row in rows) == [(name, k) for name in "ab" for k in range(50)]


def test_a_share_that_cannot_be_is_said(tmp_path):
    with pytest.raises(InputError, match=r"worker must be \(k, n\) with k from 0 to n - 1, got \(2, 2\)"):
        run_study("counterfactuals", scale="smoke", output=tmp_path, worker=(2, 2))
    with pytest.raises(InputError, match="study 'gallery' cannot be shared among processes: these can, "):
        run_study("gallery", scale="smoke", output=tmp_path, worker=(0, 2))


@pytest.mark.parametrize("scale", ["small", "paper"])
@pytest.mark.parametrize("name", [name for name in STUDIES if name != "gallery"])  # it takes scikit-image's own
def test_a_study_of_pictures_says_that_it_needs_them(name, scale, tmp_path):
    with pytest.raises(InputError, match=f"study {name} needs a folder of pictures: give --data or set PREIMAGE_DATA"):
        run_study(name, scale=scale, output=tmp_path)


def test_unknown_studies_and_scales_are_said(tmp_path):
    with pytest.raises(InputError, match="no study 'sharpening': there are denoising, "):
        run_study("sharpening", scale="smoke", output=tmp_path)
    with pytest.raises(InputError, match="scale must be smoke, small or paper, got 'large'"):
        run_study("denoising", scale="large", output=tmp_path)
    assert list(tmp_path.glob("*.md")) == []


def test_the_folder_is_docs_for_what_counts_and_out_for_smoke():
    assert Study("a", "small").folder == Path("out")
    Path("docs").mkdir()
    assert Study("a", "small").folder == Path("docs")
    assert Study("a", "smoke").folder == Path("out")
    assert Study("a", "paper", None, Path("x")).folder == Path("x")
    assert Study("a", "paper").figure("b.png") == Path("out/figures/b.png"), "pictures of others are not committed"


def test_rows_come_back_as_numbers_and_words(tmp_path):
    study = Study("a", "smoke", None, tmp_path)
    assert study.rows() == []
    study.keep({"picture": "F16", "step": 3, "psnr": 30.123456789, "kept": "1 2 3"})
    study.keep({"picture": "Lena, gray", "step": 4, "psnr": float("nan"), "kept": ""})
    first, second = study.rows()
    assert first == {"picture": "F16", "step": 3, "psnr": 30.1235, "kept": "1 2 3"}
    assert (second["picture"], second["psnr"] != second["psnr"]) == ("Lena, gray", True)


def test_a_section_takes_the_place_of_its_former_self_and_leaves_the_others(tmp_path):
    first, second = Study("first", "smoke", None, tmp_path), Study("second", "smoke", None, tmp_path)
    first.write_section("One", "old text")
    second.write_section("Two", "other text")
    path = first.write_section("One", "new text")
    text = path.read_text()
    assert "old text" not in text
    assert text.index("new text") < text.index("other text")
    assert text.count("## One") == text.count("## Two") == text.count("# Results\n") == 1
    second.write_section("Two", "other text")
    assert path.read_text() == text


def test_parts_that_studies_share():
    picture = torch.arange(2 * 7 * 9).reshape(1, 2, 7, 9)
    assert torch.equal(center_crop(picture, 3), picture[..., 2:5, 3:6])
    assert torch.equal(center_crop(picture, 50), picture)
    clean = generated_picture(32, 4)
    assert clean.shape == (1, 4, 32, 32)
    assert float(clean.min()) >= 0
    assert float(clean.max()) <= 1
    gray = torch.full((1, 3, 64, 64), 0.5)
    noise = with_gaussian_noise(gray, 0.1, seed=5) - gray
    assert float(noise.std()) == pytest.approx(0.1, rel=0.03)
    assert torch.equal(with_gaussian_noise(gray, 0.1, seed=5), gray + noise)
    assert (
        markdown_table(["a", "b"], [["x", 1.0], [2, 3.14159]]) == "| a | b |\n| --- | --- |\n| x | 1.00 |\n| 2 | 3.14 |"
    )
