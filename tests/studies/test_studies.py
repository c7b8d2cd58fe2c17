"""Studies: each runs at scale smoke with no picture at hand, writes its rows as they come, and goes on from them."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from studies import AT_IMAGENET, STUDIES, study
from studies.__main__ import main
from studies.harness import StudyError, lite
from studies.harness.imaging import center_crop, generated_picture, with_gaussian_noise
from studies.harness.study import Run, slug
from studies.harness.tables import markdown

NO_PICTURES = ("gallery", "counterfactuals_gallery", "maximization_imagenet")  # scikit-image's own, and none
QUICK = ("noise_impedance", "loss_estimator", "activation_maximization")  # the others: make test-long
SHARED = (
    "preimage_recovery",
    "ood_recovery",
    "counterfactuals",
    "saliency_methods",
    "adversary_curves",
    "defence_table",
)
each_study = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.long) for name in STUDIES]
)


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
        assert study(name, scale="smoke", output=place) == place / "results.md"
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
    study(name, scale="smoke", output=folder)
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
    study(name, scale="smoke", output=tmp_path)
    assert table.read_text().startswith("".join(lines[:2]))
    resumed = rows_of(table)
    assert len(resumed) == len(whole)
    said = [[v for k, v in row.items() if "seconds" not in k] for row in (*whole, *resumed)]
    assert said[: len(whole)] == said[len(whole) :]


@pytest.mark.parametrize("name", ["loss_estimator", *(pytest.param(name, marks=pytest.mark.long) for name in SHARED)])
def test_several_processes_share_a_study(folder, name, tmp_path):
    """Each does its share; a last call finds all rows there, and writes the section that one process writes."""
    for k in range(2):
        shown = study(name, scale="smoke", output=tmp_path, worker=(k, 2))
        assert shown == table_of(tmp_path, name)
    assert not (tmp_path / "results.md").exists()
    before = table_of(tmp_path, name).read_bytes()
    study(name, scale="smoke", output=tmp_path)
    assert table_of(tmp_path, name).read_bytes() == before
    said = [
        sorted(str([v for k, v in row.items() if "seconds" not in k]) for row in rows_of(table_of(where, name)))
        for where in (folder, tmp_path)
    ]
    assert said[0] == said[1]
    assert (tmp_path / "results.md").exists()


def test_a_share_that_cannot_be_is_said(tmp_path):
    with pytest.raises(StudyError, match=r"worker must be \(k, n\) with k from 0 to n - 1, got \(2, 2\)"):
        study("counterfactuals", scale="smoke", output=tmp_path, worker=(2, 2))


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        *((name, scale) for name in STUDIES if name not in NO_PICTURES for scale in ("small", "paper")),
        *((name, "imagenet") for name in AT_IMAGENET),
    ],
)
def test_a_study_of_pictures_says_that_it_needs_them(name, scale, tmp_path):
    with pytest.raises(StudyError, match=f"study {name} needs a folder of pictures: give --data or set PREIMAGE_DATA"):
        study(name, scale=scale, output=tmp_path)


def test_classifiers_that_are_not_installed_are_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    lite.lite0.cache_clear()
    with pytest.raises(StudyError, match=r"pip install 'preimage\[classifiers,imagenet\]'"):
        study("maximization_imagenet", scale="small", output=tmp_path)


def test_unknown_studies_and_scales_are_said(tmp_path):
    with pytest.raises(StudyError, match="no study 'sharpening': there are paper_curve, "):
        study("sharpening", scale="smoke", output=tmp_path)
    with pytest.raises(StudyError, match="scale must be smoke, small, paper or imagenet, got 'large'"):
        study("denoising", scale="large", output=tmp_path)
    assert list(tmp_path.glob("*.md")) == []


def test_the_folder_is_docs_for_what_counts_and_out_for_smoke():
    assert Run("a", "small").folder == Path("out")
    Path("docs").mkdir()
    assert Run("a", "small").folder == Path("docs")
    assert Run("a", "smoke").folder == Path("out")
    assert Run("a", "paper", None, Path("x")).folder == Path("x")
    assert Run("a", "paper").figure("b") == Path("out/figures/a-paper-b.png"), "pictures of others are not committed"


@pytest.mark.parametrize("word", ["../../escaped", "/etc/passwd", "..", "a/b\\c", "mel: 0.5", ""])
def test_no_word_of_the_data_leads_out_of_the_folder_of_figures(tmp_path, word):
    place = Run("a", "smoke", None, tmp_path).figure(word, "map")
    assert place.parent == tmp_path / "figures"
    assert slug(word).strip(".")
    assert place.resolve().parent == (tmp_path / "figures").resolve()


def test_what_is_worked_out_once_is_of_one_run(tmp_path):
    made = []
    first, second = (Run("a", "smoke", None, tmp_path) for _ in range(2))
    assert [run.once(lambda run, k=k: made.append(k) or k) for k, run in ((1, first), (2, second))] == [1, 2]

    def number(run: Run, k: int) -> int:
        made.append(k)
        return k

    assert [first.once(number, 7), first.once(number, 7), second.once(number, 7)] == [7, 7, 7]
    assert made == [1, 2, 7, 7]


# ---------------------------------------------------------------------- the command


def test_the_command_lists_and_refuses(capsys):
    assert main([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(STUDIES)
    assert main(["no-such"]) == 2
    said = capsys.readouterr().err
    assert "no-such" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("place", ["here.png", "here.png/results"])
def test_a_study_is_not_written_into_a_file(tmp_path, capsys, place):
    (tmp_path / "here.png").write_bytes(b"x")
    assert main(["denoising", "--scale", "smoke", "--output", str(tmp_path / place)]) == 2
    assert "here.png is a file: give another name" in capsys.readouterr().err


@pytest.mark.parametrize("worker", ["0/2", "3/2", "1", "a/b", "-1/2"])
def test_a_share_of_a_study_that_cannot_be_is_refused(capsys, worker):
    with pytest.raises(SystemExit) as ended:
        main(["counterfactuals", "--scale", "smoke", f"--worker={worker}"])
    assert ended.value.code == 2
    assert f"must be K/N with K from 1 to N, as 1/4, got '{worker}'" in capsys.readouterr().err


def test_processes_share_a_study_before_its_text_is_written(monkeypatch, capsys):
    commands, codes = [], iter([0, 0, 0, 2])

    class Process:
        def __init__(self, command: list[str], **options) -> None:
            commands.append(command[3:])

        def wait(self) -> int:
            return next(codes)

    monkeypatch.setattr("studies.__main__.subprocess.Popen", Process)
    monkeypatch.setattr("studies.__main__.study", lambda name, **options: f"{name} {options['worker']}")
    assert main(["denoising", "--workers", "2", "--scale=smoke"]) == 0
    assert commands == [["denoising", "--scale=smoke", "--worker", f"{k}/2"] for k in (1, 2)]
    assert capsys.readouterr().out == "denoising (0, 1)\n"
    assert main(["denoising", "--workers=2"]) == 2  # one of them failed
    assert not capsys.readouterr().out


def test_a_cluster_measures_the_shares_of_a_study(monkeypatch, capsys):
    commands, codes = [], iter([0, 0, 0, 2])

    class Ray:
        def cluster_resources(self):
            return {"CPU": 2.0}

        def remote(self, **own):
            assert own["num_cpus"] == 1
            return lambda do: SimpleNamespace(remote=do)

        def get(self, found):
            return found

        def shutdown(self):
            ended.append(self)

    ended = []

    def run(command, cwd):
        commands.append(command[3:])
        assert cwd == str(Path.cwd())
        return SimpleNamespace(returncode=next(codes))

    monkeypatch.setattr("preimage.ray_cluster.connected", lambda address: Ray())
    monkeypatch.setattr("studies.__main__.subprocess.run", run)
    monkeypatch.setattr("studies.__main__.study", lambda name, **options: f"{name} {options['worker']}")
    assert main(["denoising", "--ray=auto", "--workers", "2", "--scale=smoke"]) == 0
    assert commands == [["denoising", "--scale=smoke", "--worker", f"{k}/2"] for k in (1, 2)]
    assert capsys.readouterr().out == "denoising (0, 1)\n"
    assert main(["denoising", "--ray", "auto", "--workers=2"]) == 2
    assert len(ended) == 2


def test_a_cluster_that_is_none_is_one_line(capsys):
    assert main(["denoising", "--ray", "nonsense"]) == 2
    assert capsys.readouterr().err == "python -m studies: --ray must be auto or HOST:PORT, got 'nonsense'\n"


@pytest.mark.parametrize("wrong", [["--workers", "0"], ["--workers", "2", "--worker", "1/2"], ["--workers", "two"]])
def test_workers_that_cannot_be_are_refused(capsys, wrong):
    with pytest.raises(SystemExit) as ended:
        main(["denoising", *wrong])
    assert ended.value.code == 2
    assert "--workers" in capsys.readouterr().err


def test_the_command_hands_its_options_on(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr("studies.__main__.study", lambda name, **options: seen.update(options, name=name))
    options = ["--scale", "smoke", "--data", str(tmp_path), "--output", str(tmp_path / "o"), "--worker", "2/3"]
    assert main(["denoising", *options]) == 0
    expected = {
        "name": "denoising",
        "scale": "smoke",
        "data": tmp_path,
        "output": tmp_path / "o",
        "worker": (1, 3),
        "classifier": None,
    }
    assert seen == expected


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
    assert markdown(["a", "b"], [["x", 1.0], [2, 3.14159]]) == "| a | b |\n| --- | --- |\n| x | 1.00 |\n| 2 | 3.14 |"
