"""The evaluation: every row once, whatever is killed and whoever shares the work, and accuracies with their intervals."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cli.tiny import ENVIRONMENT
from defend.evaluation import DEFENCES, THREATS, evaluated
from defend.small import BRIEF, Broken, Detached, Shifted, accuracy, pictures, trained

from preimage.defend.attacks import attack
from preimage.defend.defence import Purification
from preimage.defend.evaluate import evaluate_defence
from preimage.defend.table import COLUMNS, KEY, Table, accuracies, wilson
from preimage.defend.threat import Threat
from preimage.errors import InputError

IMAGES, LABELS = pictures(8, seed=4)
ROWS = 8 * (len(THREATS) + 1) * len(DEFENCES)
CHANGING = ("seconds",)  # what no two runs agree on
ALONE = {**ENVIRONMENT, "PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{Path(__file__).parents[1]}"}


def rows_of(path: Path) -> list[dict[str, str]]:
    rows = Table(path, columns=COLUMNS, key=KEY).rows()
    return sorted(({k: v for k, v in row.items() if k not in CHANGING} for row in rows), key=lambda row: str(row))


def started(path: Path, number: int = 0, workers: int = 1) -> subprocess.Popen:
    script = Path(__file__).with_name("evaluation.py")
    return subprocess.Popen([sys.executable, str(script), str(path), str(number), str(workers)], env=ALONE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The table of an evaluation that nobody disturbed."""
    path = tmp_path_factory.mktemp("whole") / "rows.csv"
    evaluated(path)
    return path


def test_every_picture_under_every_attack_behind_every_defence_has_a_row(whole):
    rows = rows_of(whole)
    assert len(rows) == ROWS
    clean = [row for row in rows if row["attack"] == "none" and row["defence"] == "none"]
    assert sorted(int(row["number"]) for row in clean) == list(range(8))
    predicted = trained()(IMAGES).argmax(1)
    assert all(int(row["predicted"]) == int(predicted[int(row["number"])]) for row in clean)
    assert all(row["correct"] == str(int(row["predicted"] == row["label"])) for row in rows)
    assert all(float(row["distance"]) <= float(row["eps"]) + 1e-4 for row in rows)
    assert {row["knows_seed"] for row in rows if row["attack"] == "bpda-eot"} == {"yes", "no"}
    assert {row["knows_seed"] for row in rows if row["attack"] != "bpda-eot"} == {""}


def test_it_returns_accuracies(whole):
    found = evaluated(whole)
    assert [(each.defence, each.attack, each.knows_seed) for each in found] == [
        (name, threat.name, threat.knows_seed) for name in DEFENCES for threat in (Threat("none", 0), *THREATS)
    ]
    assert all(each.count == 8 for each in found)
    assert found[0].share == pytest.approx(accuracy(trained(), IMAGES, LABELS))
    assert found[0].interval == wilson(found[0].correct, 8)
    assert str(found[0]).startswith(f"none, none 0: {found[0].share:.1%} (")
    assert len(accuracies(Table(whole, columns=COLUMNS, key=KEY).rows())) == len(found)


def test_what_is_known_is_not_worked_out_again(whole, monkeypatch):
    before = whole.read_bytes()
    monkeypatch.setattr("preimage.defend.evaluate.bpda_eot", None)
    monkeypatch.setattr("preimage.defend.evaluate.prior_perturbation", None)
    evaluated(whole)
    assert whole.read_bytes() == before


def test_a_picture_has_the_same_row_in_another_batch_and_beside_other_pictures(whole, tmp_path):
    threats = [Threat("none", 0)]
    evaluate_defence(trained(), IMAGES[:5], LABELS[:5], threats, DEFENCES, table=tmp_path / "rows.csv", seed=3, batch=2)
    few = rows_of(tmp_path / "rows.csv")
    assert len(few) == 10
    assert all(row in rows_of(whole) for row in few)


def test_killed_in_the_midst_it_goes_on(whole, tmp_path):
    path = tmp_path / "rows.csv"
    process = started(path)
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 10):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with path.open("ab") as file:
        file.write(path.read_bytes()[:-7].rsplit(b"\n", 1)[-1])  # half a row
    begun = len(rows_of(path))
    assert begun >= 8
    evaluated(path)
    assert rows_of(path) == rows_of(whole)


def test_two_processes_share_a_table(whole, tmp_path):
    path = tmp_path / "rows.csv"
    both = [started(path, number, 2) for number in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert rows_of(path) == rows_of(whole)


def test_each_worker_does_its_share(tmp_path):
    evaluated(tmp_path / "rows.csv", worker=(1, 2))
    assert {int(row["number"]) for row in rows_of(tmp_path / "rows.csv")} == {4, 5, 6, 7}


def test_other_settings_are_other_rows(tmp_path):
    path = tmp_path / "rows.csv"
    for defence, seed, samples in (
        (Shifted(0.02), 1, 1),
        (Shifted(0.03), 1, 1),
        (Shifted(0.02), 2, 1),
        (Shifted(0.02), 1, 2),
    ):
        evaluate_defence(
            trained(), IMAGES[:2], LABELS[:2], [], {"shifted": defence}, table=path, seed=seed, samples=samples
        )
    assert len(rows_of(path)) == 8


def test_unaware_attacks_attack_the_bare_classifier(tmp_path):
    path = tmp_path / "rows.csv"
    threat = Threat("fgsm", 10)
    found = evaluate_defence(trained(), IMAGES, LABELS, [threat], DEFENCES, table=path, batch=5)
    expected = attack("fgsm", trained(), IMAGES, LABELS, 10)
    bare = next(each for each in found if (each.defence, each.attack) == ("none", "fgsm"))
    assert bare.share == pytest.approx(accuracy(trained(), expected, LABELS))
    assert bare.share < found[0].share


def test_purification_is_evaluated_as_it_is(tmp_path):
    defences = {"purify": Purification(BRIEF)}
    found = evaluate_defence(trained(), IMAGES[:3], LABELS[:3], [], defences, table=tmp_path / "rows.csv")
    assert [(each.defence, each.count) for each in found] == [("purify", 3)]


def test_wilsons_interval():
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0, 20)[0] == 0.0
    assert 0.1 < wilson(0, 20)[1] < 0.2
    assert wilson(20, 20)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)
    assert all(math.isfinite(end) for end in wilson(1, 1))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"labels": LABELS[:5]}, "shape"),
        ({"labels": LABELS + 1}, "class"),
        ({"images": 2 * IMAGES}, "range"),
        ({"worker": (2, 2)}, "invalid-value"),
        ({"batch": 0}, "invalid-value"),
        ({"samples": 0}, "invalid-value"),
        ({"defences": {}}, "option"),
        ({"seed": -1}, "invalid-value"),
        ({"model": Detached()}, "classifier"),
        ({"model": Broken()}, "classifier"),
        ({"model": "lesions.pt"}, "type"),
        ({"defences": {"x": lambda x: x}}, "type"),
        ({"defences": {"x": 5}}, "type"),
        ({"defences": [None]}, "option"),
        ({"attacks": ["pgd"]}, "type"),
        ({"table": "nowhere/rows.csv"}, "not-found"),
    ],
)
def test_bad_input_is_one_line(changes, code, tmp_path):
    given = {"model": trained(), "images": IMAGES, "labels": LABELS, "attacks": THREATS, "defences": DEFENCES}
    with pytest.raises(InputError) as raised:
        evaluate_defence(**given | {"table": tmp_path / "rows.csv"} | changes)
    assert (raised.value.code, "\n" in str(raised.value)) == (code, False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("threat", "code"),
    [
        (("nothing", 3), "invalid-value"),
        (("pgd", -1), "invalid-value"),
        (("fgsm", "8"), "invalid-value"),
        (("pgd", 3, 0), "invalid-value"),
        (("pgd", 3, "20"), "invalid-value"),
        (("bpda-eot", 3, 1, 0), "invalid-value"),
        (("prior", 3, 1, 1, True), "option"),
    ],
)
def test_threats_that_cannot_be(threat, code):
    with pytest.raises(InputError) as raised:
        Threat(*threat)
    assert (raised.value.code, "\n" in str(raised.value)) == (code, False)


def test_a_model_without_gradient_can_be_judged_on_clean_pictures(tmp_path):
    found = evaluate_defence(Detached(), IMAGES, LABELS, [], {"none": None}, table=tmp_path / "rows.csv")
    assert found[0].share == pytest.approx(accuracy(trained(), IMAGES, LABELS))


def test_the_model_is_left_where_and_as_it_was(tmp_path):
    model = torch.nn.Sequential(trained()).train()
    evaluate_defence(model, IMAGES[:2], LABELS[:2], [], {"none": None}, table=tmp_path / "rows.csv")
    assert model.training
