"""The studies of the defence at scale imagenet: small here, with a classifier of the user; they share their fits."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import studies
from preimage.classifiers import Classifier
from preimage.classifiers.resizing import Resizing
from preimage.defend.threat import NONE, Threat
from studies import adversary_curves, saliency_over_steps, study
from studies.__main__ import main
from studies.defence import published_scale, several_steps
from studies.defence.accuracies import Accuracies
from studies.harness import StudyError, attacked, classifiers, defences
from studies.harness.attacked import TINY
from studies.harness.defences import FASTEST, PLANS, RESIZING, UNAWARE, WIDE, ended, plan_of
from studies.harness.rows import Row
from studies.harness.study import Run

SPEC = "mine:resnet@/far/away/weights.pth"
COUNT, LOOKS = 2, (2, 3, 4, 5, 6, 7)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Pictures that a small classifier is right about, and settings that take a moment; a list of the fits that are made."""
    classifier = classifiers.untrained(None, "cifar10").classifier
    own = Classifier(classifier.model, classifier.classes, (0.5,) * 3, (0.05,) * 3, 32, resizing=Resizing("crop", 36))
    draw, rows = np.random.default_rng(0), ["filename,class_index"]
    (tmp_path / "imagenet_sample").mkdir()
    for k in range(4):
        pixels = np.full((44, 60 + k, 3), draw.integers(0, 256, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "imagenet_sample" / f"{k}.png")
        with torch.no_grad():
            label = int(own(torch.from_numpy(pixels).movedim(-1, 0)[None] / 255).argmax())
        rows.append(f"{k}.png,{label if k else (label + 1) % 10}")
    (tmp_path / classifiers.IMAGENET).write_text("\n".join(rows))
    asked, made = [], []
    monkeypatch.setattr(classifiers, "load_classifier", lambda spec, device: asked.append(spec) or own)
    monkeypatch.setattr(classifiers, "choose_device", lambda: torch.device("cpu"))
    plan = replace(PLANS["smoke"], count=3, few=COUNT, batch=1, draws=3, under=UNAWARE[2:4], on_all={}, on_few={})
    monkeypatch.setitem(PLANS, "imagenet", plan)
    monkeypatch.setattr(attacked, "PAPER", TINY)
    monkeypatch.setattr(attacked, "LOOKS", LOOKS)
    for module, name, value in (
        *((adversary_curves, name, value) for name, value in (("COUNT", COUNT), ("STEPS", 6), ("EVERY", 2))),
        *((saliency_over_steps, name, value) for name, value in (("COUNT", COUNT), ("STEPS", (2, 6)), ("CURVE", 5))),
        (saliency_over_steps, "PATH", (2, 1)),
    ):
        monkeypatch.setitem(getattr(module, name), "imagenet", value)
    monkeypatch.setattr(adversary_curves, "DURING", (2, 4))
    fitted = several_steps.early_outputs

    def counted(images, at, **options):
        made.append(tuple(at))
        return fitted(images, at, **options)

    monkeypatch.setattr(several_steps, "early_outputs", counted)
    return asked, made


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.long
@pytest.mark.parametrize("gpu", [False, True])
def test_one_fit_of_a_picture_serves_the_table_and_both_figures(small, tmp_path, monkeypatch, gpu):
    asked, made = small
    monkeypatch.setattr(defences, "on_gpu", lambda: gpu)
    pictures = COUNT + gpu
    options = {"scale": "imagenet", "data": tmp_path, "output": tmp_path / "out", "classifier": SPEC}
    for name in ("adversary_curves", "saliency_over_steps"):
        study(name, **options)
        assert made == [LOOKS] * (3 * COUNT), "two pictures, as they are and under two attacks"
    study("defence_table", **options)
    if gpu:
        unattacked_and_attacked = pictures * (1 + len(UNAWARE))
        assert len(made) == unattacked_and_attacked + COUNT, "each once; few of them under the prior's perturbation too"
    else:
        assert made == [LOOKS] * (3 * COUNT), "none is fitted anew, nor against the prior's perturbation: too slow"
    assert set(asked) == {SPEC}
    results = {path.name: rows_of(path) for path in (tmp_path / "out" / "results").iterdir()}
    assert set(results) == {f"{name}-imagenet-weights.pth.csv" for name in studies.AT_IMAGENET}
    rows = results["defence_table-imagenet-weights.pth.csv"]
    judged = {(row["attack"], row["number"]) for row in rows if row["defence"] == ended(WIDE, 7)}
    all_under, few_under = ({NONE, "fgsm", "bi", "llci"}, {"prior"}) if gpu else ({NONE, "fgsm", "bi"}, set())
    wanted = {(attack, str(k)) for attack in all_under for k in range(pictures)}
    assert judged == wanted | {(attack, str(k)) for attack in few_under for k in range(COUNT)}
    assert {row["number"] for row in rows if row["defence"] == FASTEST and row["seed"] == "0"} == {"0", "1", "2"}
    assert {row["seed"] for row in rows if row["defence"] == RESIZING} == {"0", "1", "2"}
    text = (tmp_path / "out" / "results.md").read_text()
    assert text.count("<!-- begin ") == 3
    assert "<!-- begin defence_table-imagenet-weights.pth -->" in text
    assert "Nothing is measured yet" not in text
    assert " / 58.4" in text, "the published value of FGSM 10 after the first number of steps"
    before = text, sorted(results)
    study("defence_table", **options)
    assert ((tmp_path / "out" / "results.md").read_text(), sorted(results)) == before
    assert rows_of(tmp_path / "out" / "results" / "defence_table-imagenet-weights.pth.csv") == rows


def test_pictures_are_what_the_classifier_sees_of_them(small, tmp_path):
    run = Run("defence_table", "imagenet", tmp_path, tmp_path / "out")
    model, pictures = classifiers.subject(run, "cifar10", 9)
    assert small[0] == [classifiers.LITE0]
    assert sorted(pictures.numbers) == [1, 2, 3], "the first is misclassified"
    assert pictures.images.shape == (3, 3, 32, 32)
    assert torch.equal(model(pictures.images).argmax(1), pictures.labels)


def test_more_is_measured_where_there_is_a_gpu(monkeypatch):
    run = Run("defence_table", "imagenet")
    monkeypatch.setattr(classifiers, "choose_device", lambda: torch.device("cpu"))
    assert (plan_of(run).count, plan_of(run).few, set(plan_of(run).on_few)) == (20, 3, {WIDE})
    assert adversary_curves.conditions(run) == adversary_curves.FEW
    monkeypatch.setattr(classifiers, "choose_device", lambda: torch.device("cuda"))
    assert (plan_of(run).count, plan_of(run).few, set(plan_of(run).on_all)) == (100, 3, {WIDE})
    assert defences.plan_of(Run("defence_table", "small")) == PLANS["small"]
    assert len(adversary_curves.conditions(run)) == len(adversary_curves.CONDITIONS) + 3
    assert classifiers.as_many(run, adversary_curves.COUNT, 8) == 8


# ---------------------------------------------------------------------- what the rows say


def rows_under(defence: str, threat: Threat, right: list[int], seed: int = 0) -> list[Row]:
    own = {"classifier": "c", "seed": seed, "averaged": 1, "defence": defence, "settings": f"of {defence}"}
    own |= {"attack": threat.name, "eps": threat.eps, "knows_seed": ""}
    return [Row(own | {"number": k, "correct": value}) for k, value in enumerate(right)]


def test_many_draws_are_as_good_as_the_worst_for_who_may_ask_again():
    plan, fgsm = PLANS["imagenet"], UNAWARE[2]
    rows = [*rows_under(FASTEST, fgsm, [1, 1, 0, 0]), *rows_under(FASTEST, fgsm, [1, 0, 1, 0, 1], seed=1)]
    line = published_scale.draws(rows, plan).splitlines()[-1]
    assert [cell.strip().split(" ")[0] for cell in line.split("|")[1:-1]] == [
        "fast",
        "FGSM",
        "4",
        "2",
        "50",
        "25",
        "75",
    ]
    assert published_scale.draws(rows_under(FASTEST, fgsm, [1, 1]), plan) == "", "one draw says nothing of many"


def test_a_column_counts_the_pictures_that_it_was_measured_on():
    plan, fgsm = PLANS["imagenet"], UNAWARE[2]
    rows = [*rows_under(NONE, fgsm, [0] * 8), *rows_under(ended(WIDE, 750), fgsm, [1, 1, 1])]
    measured = Accuracies(rows)
    assert (measured.reach(NONE, [fgsm]), measured.reach(ended(WIDE, 750), [fgsm])) == (8, 3)
    shown = published_scale.accuracies(measured, plan, [NONE, ended(WIDE, 750)])
    assert "| FGSM 10 | 0 (0 to 32) / 2.6 | 100 (44 to 100) / 62.9 |" in shown
    lines = {
        line.split("|")[1].strip(): line.split("|")[2:-1]
        for line in published_scale.claims(measured, plan).splitlines()
    }
    count, points, holds = (cell.strip() for cell in lines["published, 750 steps: above no defence, FGSM 10"])
    assert (count, points, holds) == ("3", "+100 (+100 to +100)", "not shown"), "three pictures show nothing"


def test_published_averages_stand_where_all_of_their_rows_do():
    plan = PLANS["imagenet"]
    assert published_scale.printed(plan, ended(WIDE, 750), UNAWARE) == "68.9"
    assert published_scale.printed(plan, RESIZING, UNAWARE[:3]) == "57.3"
    assert [published_scale.beside("5", "7.0"), published_scale.beside("", "7.0")] == ["5 / 7.0", "- / 7.0"]
    assert published_scale.printed(plan, RESIZING, UNAWARE) == published_scale.printed(plan, "JPEG", UNAWARE) == ""


# ---------------------------------------------------------------------- the command


def test_a_study_without_this_scale_and_a_classifier_without_it_are_refused(tmp_path, capsys):
    with pytest.raises(StudyError, match="study denoising has no scale imagenet: adversary_curves, "):
        study("denoising", scale="imagenet", output=tmp_path)
    assert main(["defence_table", "--classifier", SPEC, "--output", str(tmp_path)]) == 2
    assert "a classifier is stated at scale imagenet alone" in capsys.readouterr().err


def test_results_of_a_stated_classifier_have_its_name_and_are_not_those_of_the_documentation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    ours, theirs = Run("a", "imagenet"), Run("a", "imagenet", classifier=SPEC)
    assert [str(run.table()) for run in (ours, theirs)] == [
        "docs/results/a-imagenet.csv",
        "out/results/a-imagenet-weights.pth.csv",
    ]
    assert (ours.section, theirs.section, Run("a", "paper").section) == ("a-imagenet", "a-imagenet-weights.pth", "a")
