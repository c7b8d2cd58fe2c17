"""Bad input of the explaining commands: one clear line each, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

OWN = "classifiers.small:own_classifier"
SAID = "{said}"  # stands for what the classifier says of the picture
pytestmark = pytest.mark.usefixtures("more")

ANY = [
    (["--classifier", "nothing"], ["nothing"]),
    (["--classifier", "missing.pt"], ["missing.pt"]),
    (["--classifier", "noisy.png"], ["noisy.png"]),
    (["--classifier", "classifiers.small:no_classifier"], ["classifiers.small:no_classifier"]),
    (["--classifier", "classifiers.small:without_gradient"], ["gradient"]),
    (["--classifier", "torchvision:resnet99"], ["resnet99"]),
    (["--steps", "0"], ["steps", "0"]),
    (["--steps", "2.5"], ["--steps", "2.5"]),
    (["--threads", "0"], ["threads", "0"]),
    (["--autosave", "0"], ["autosave", "0"]),
    (["--seed", "-1"], ["seed", "-1"]),
    (["--device", "abacus"], ["abacus"]),
    (["--recipe", "nowhere.json"], ["nowhere.json"]),
    (["-o", "out.xyz"], ["out.xyz"]),
    (["-o", "nowhere/out.png"], ["nowhere"]),
    (["-o", "clean.png"], ["clean.png"]),
    (["--figure", "figure.jpg"], ["--figure figure.jpg", ".png"]),
    (["--html", "page.png"], ["--html page.png", ".html"]),
    (["--report", "report.txt"], ["--report report.txt", ".json"]),
    (["--figure", "a.png", "-o", "a.png"], ["a.png", "--figure", "--output"]),
    (["--report", "tiny.json"], ["tiny.json"]),
]
PICTURE = [
    (["-o", "noisy.png", "--overwrite"], ["noisy.png"]),
    (["-o", "out.jpg.checkpoint"], ["checkpoint"]),
    (["clean.png"], ["clean.png"]),
    (["--page", "2"], ["noisy.png", "2"]),
    (["--page", "0"], ["page", "0"]),
    (["--layer", "blok1"], ["blok1", "block1"]),
    (["--layer", "unused"], ["unused"]),
]
BAD = {
    "counterfactual": [
        *ANY,
        *PICTURE,
        (["--target", "hexagon"], ["hexagon"]),
        (["--target", "sqare"], ["sqare", "square"]),
        (["--target", "7"], ["0 to 2"]),
        (["--target", SAID], ["target"]),
        (["--confidence", "1.5"], ["confidence", "1.5"]),
        (["--count", "0"], ["count", "0"]),
        (["--class-weight", "-1"], ["class_weight", "-1"]),
        (["--class-weight", "inf"], ["class_weight", "inf"]),
        (["--loss-weight", "inf"], ["loss_weight", "inf"]),
        (["--uncertainty", "fear"], ["--uncertainty", "fear"]),
        (["--uncertainty", "loss"], ["loss"]),
        (["--target-loss", "3"], ["target_loss", "3"]),
        (["--region", "large.png"], ["region", "48 x 40", "24 x 20"]),
        (["--region", "empty.png"], ["region"]),
        (["--region", "nowhere.png"], ["nowhere.png"]),
        (["--lesion-mask", "large.png"], ["lesion", "48 x 40"]),
        (["--lesion-mask", "empty.png"], ["lesion"]),
        (["--lesion-mask", "full.png"], ["lesion"]),
        (["--second-classifier", "missing.pt"], ["missing.pt"]),
        (["--second-classifier", "classifiers.small:as_softmax"], ["second", "--second-classifier-output"]),
        (["--second-classifier", "classifiers.small:of_other_classes"], ["class"]),
        (["--strengths", "strip.jpg"], ["--strengths strip.jpg", ".png"]),
        (["--strengths", "a.png", "--figure", "a.png"], ["a.png", "--figure"]),
        (["--region", "mask.png", "-o", "mask.png", "--overwrite"], ["mask.png", "--region"]),
        (["--count", "2", "-o", "a.png", "--figure", "a-2.png"], ["a-2.png"]),
    ],
    "recover": [
        *ANY,
        *PICTURE,
        (["--loss-weight", "-1"], ["loss_weight"]),
        (["--uncertainty", "loss"], ["preimage train"]),
    ],
    "invert": [*ANY, *PICTURE, (["--layers", "block1,"], ["layer"]), (["--prior", "smooth"], ["--prior"])],
    "maximize": [
        *ANY,
        (["--layer", "block1", "--channel", "99"], ["7", "99"]),
        (["--layer", "block1"], ["target", "channel"]),
        (["--layer", "blok1", "--channel", "1"], ["block1"]),
        (["--layer", "block1", "--channel", "1", "--window", "500"], ["window", "500"]),
        ([], ["target", "channel"]),
        (["--target", "hexagon"], ["hexagon"]),
        (["--target", "0", "--size", "4", "4"], ["16"]),
        (["--target", "0", "--size", "0", "0"], ["16"]),
        (["--target", "0", "--size", "1000000", "1000000"], ["--size"]),
        (["noisy.png", "--target", "0"], ["maximize", "noisy.png"]),
    ],
}
CASES = [(command, *case) for command, cases in BAD.items() for case in cases]


@pytest.mark.parametrize(("command", "tokens", "words"), CASES, ids=[" ".join([c, *t]) for c, t, _ in CASES])
def test_bad_input_is_one_line_and_nothing_is_written(here, run, monkeypatch, command, tokens, words):
    monkeypatch.setattr("preimage.engine.fit.Fit.__next__", lambda fit: pytest.fail("a fit was begun"))
    if SAID in tokens:
        import torch
        from classifiers.small import tiny

        from preimage.images import read

        with torch.no_grad():
            said = tiny().classes[int(tiny()(read("noisy.png").tensor).argmax())]
        tokens = [said if token == SAID else token for token in tokens]
    before = sorted(here.rglob("*"))
    given = [] if command == "maximize" else ["noisy.png"]
    given += [] if "--classifier" in tokens else ["--classifier", OWN]
    given += [] if "--recipe" in tokens else ["--recipe", "tiny.json"]
    given += [] if "--steps" in tokens else ["--steps", "3"]
    given += ["--layer", "block1"] if command == "invert" and not {"--layer", "--layers"} & {*tokens} else []
    alone = command == "maximize" and not {"--layer", "--target"} & {*tokens} and words != ["target", "channel"]
    given += ["--target", "0", "--size", "20", "24"] if alone else []
    ran = run(command, *given, *tokens)
    assert ran.failed_in_one_line(*words), ran
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("command", ["counterfactual", "recover", "invert"])
def test_an_output_that_cannot_hold_the_result_is_refused_before_the_fit(here, run, monkeypatch, command):
    monkeypatch.setattr("preimage.engine.fit.Fit.__next__", lambda fit: pytest.fail("a fit was begun"))
    own = ["--classifier", OWN, "--recipe", "tiny.json"]
    assert run(command, "deep.png", *own, "-o", "out.jpg").failed_in_one_line("out.jpg", "uint16")


@pytest.mark.parametrize("command", ["counterfactual", "recover", "invert"])
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere.png", ["nowhere.png"]),
        ("stack.tif", ["stack.tif", "2", "--page"]),
        ("tiny.json", ["tiny.json"]),
        ("nan.tif", ["nan.tif"]),
        ("out", ["out"]),
    ],
)
def test_a_picture_that_cannot_be_is_one_line(here, run, command, source, words):
    before = sorted(here.rglob("*"))
    ran = run(command, source, "--classifier", OWN, "--recipe", "tiny.json", "-o", "a.tif")
    assert ran.failed_in_one_line(*words), ran
    assert sorted(here.rglob("*")) == before


def test_what_is_missing_is_said(here, run):
    for tokens in (("counterfactual", "noisy.png"), ("recover", "--classifier", OWN), ("maximize", "--target", "0")):
        assert run(*tokens).failed_in_one_line(), tokens


def test_files_that_are_there_are_refused_before_the_fit(here, run, monkeypatch):
    monkeypatch.setattr("preimage.engine.fit.Fit.__next__", lambda fit: pytest.fail("a fit was begun"))
    Path("a-2.png").write_bytes(b"kept")
    Path("page.html").write_bytes(b"kept")
    common = ("counterfactual", "noisy.png", "--classifier", OWN, "--recipe", "tiny.json", "-o", "a.png")
    assert run(*common, "--count", "2").failed_in_one_line("a-2.png", code="exists")
    assert run(*common, "--html", "page.html").failed_in_one_line("page.html", code="exists")
    assert Path("a-2.png").read_bytes() == Path("page.html").read_bytes() == b"kept"


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(here, run):
    from classifiers.small import tiny

    from preimage.engine.checkpoint import save
    from preimage.explain.recover import recover

    begun = recover("noisy.png", classifier=tiny(), device="cpu")
    next(iter(begun))
    save(begun, "a.png.checkpoint")
    ran = run("recover", "noisy.png", "--classifier", OWN, "--recipe", "tiny.json", "-o", "a.png", "--resume")
    assert ran.failed_in_one_line("a.png.checkpoint", code="checkpoint")
    assert not Path("a.png").exists()


@pytest.mark.parametrize(("command", "option"), [("maximize", "--size"), ("counterfactual", "--count")])
def test_where_memory_is_used_up_the_options_that_are_named_are_there(here, run, monkeypatch, command, option):
    def fail(fit):
        raise MemoryError

    monkeypatch.setattr("preimage.engine.fit.Fit.__next__", fail)
    given = ["--target", "0", "--size", "20", "24"] if command == "maximize" else ["noisy.png"]
    ran = run(command, *given, "--classifier", OWN, "--recipe", "tiny.json", "-o", "a.png")
    assert ran.failed_in_one_line(option, code="MemoryError"), ran
    assert "--restarts" not in ran.err
