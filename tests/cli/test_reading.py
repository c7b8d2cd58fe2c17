"""What a stranger brings to the command line: any file name, pipes in any place, forged files, and pictures that are cut off."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cli.tiny import TINY
from PIL import Image

BRIEF = ("--recipe", "tiny.json")
NAMES = [
    "[scan] 001.png", "[1,2].png", '{"a": 1}.png', "{a}.png", "[].png", "@a.png", "~a.png", "it's.png", 'a "b".png', "a,b.png",
    "a b.png", "100%.png", "%s%d.png", "*.png", "a=b.png", "null.png", "#1.png", "$HOME.png", "a;b.png", "ä.png", "1.png",
]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name(here, run, name):
    Path("noisy.png").rename(name)
    ran = run("denoise", name, *BRIEF, "--steps", 2, "-o", f"out {name}", "--report", "r.json")
    assert ran.code == 0, ran.err
    assert Path(f"out {name}").is_file()
    assert json.loads(Path("r.json").read_text())["input"] == name


def test_several_names_and_folders(here, run):
    for name in ("[scan] 001.png", "[scan] 002.png"):
        Path(name).write_bytes(Path("noisy.png").read_bytes())
    Path("[out]").mkdir()
    assert run("denoise", "[scan] 001.png", "[scan] 002.png", *BRIEF, "--steps", 2, "-o", "[out]").code == 0
    assert len(list(Path("[out]").iterdir())) == 2


def test_a_name_that_looks_like_an_option_has_a_way(here, run):
    Path("noisy.png").rename("-x.png")
    assert run("denoise", "-x.png", *BRIEF).failed_in_one_line("./-x.png", code="option")
    assert run("denoise", "./-x.png", *BRIEF, "--steps", 2, "-o", "a.png").code == 0
    assert run("denoise", *BRIEF, "--steps", 2, "-o", "b.png", "--", "-x.png").code == 0


# ---------------------------------------------------------------------- pipes


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
@pytest.mark.parametrize(
    "tokens",
    [
        ("denoise", "PIPE.png"),
        ("denoise", "noisy.png", "--recipe", "PIPE.json"),
        ("denoise", "noisy.png", "--reference", "PIPE.png", *BRIEF),
        ("denoise", "noisy.png", "--resume", "-o", "a.png", *BRIEF),
        ("inpaint", "noisy.png", "--mask", "PIPE.png", "--mask-white", "missing", *BRIEF),
        ("deblur", "noisy.png", "--kernel", "PIPE.npy", *BRIEF),
        ("deblur", "noisy.png", "--kernel", "PIPE.txt", *BRIEF),
        ("deblur", "noisy.png", "--kernel", "PIPE.png", *BRIEF),
        ("saliency", "noisy.png", "--classifier", "PIPE.pt"),
        ("saliency", "noisy.png", "--classifier", "torchvision:resnet18@PIPE.pth"),
        ("inspect", "noisy.png", "--classifier", "classifiers.small:own_classifier", "--thresholds", "PIPE.json"),
        ("train", "PIPE.csv", "-o", "m.pt"),
        ("train", "PIPE.npz", "-o", "m.pt"),
        ("train", "folder", "-o", "m.pt"),
        ("calibrate", "folder", "--degradation", "gaussian:25", "-o", "c.json"),
    ],
    ids=lambda tokens: " ".join(tokens[:1] + tuple(token for token in tokens if "PIPE" in token)),
)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_one_line_wherever_it_stands(here, run, tokens, kind):
    def make(path: str) -> None:
        Path(path).symlink_to("/dev/zero") if kind == "device" else os.mkfifo(path)

    for token in tokens:
        if "PIPE" in token:
            make(token.rpartition("@")[2])
    if "--resume" in tokens:
        make("a.png.checkpoint")
    for label in ("a", "b") if "folder" in tokens else ():
        (Path("folder") / label).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((20, 20), 9 * i, np.uint8)).save(f"folder/{label}/{i}.png")
        make(f"folder/{label}/9.png")
        make(f"folder/{label}.png")
    ran = run(*tokens)
    assert ran.failed_in_one_line(f"is a {kind}"), ran


# ---------------------------------------------------------------------- memory


@pytest.mark.parametrize(
    "tokens",
    [
        ("denoise", "noisy.png", "--restarts", 10**9),
        ("denoise", "noisy.png", "--recipe", "wide.json"),
        ("denoise", "noisy.png", "--recipe", "codes.json"),
        ("denoise", "noisy.png", "--recipe", "pool.json"),
        ("maximize", "--classifier", "classifiers.small:own_classifier", "--class", 0, "--size", 10**6, "-o", "a.png"),
        (
            "counterfactual",
            "noisy.png",
            "--classifier",
            "classifiers.small:own_classifier",
            "--count",
            10**9,
            "-o",
            "a.png",
        ),
    ],
    ids=lambda tokens: " ".join(map(str, tokens)),
)
def test_more_than_the_memory_holds_is_said_before_it_is_taken(here, run, tokens):
    wide = {"kind": "SkipNet", "down": [20_000] * 5, "up": [20_000] * 5, "skip": [4] * 5}
    Path("wide.json").write_text(json.dumps({**TINY, "network": wide}))
    Path("codes.json").write_text(json.dumps({**TINY, "code": {"kind": "Noise", "channels": 10**9}}))
    Path("pool.json").write_text(json.dumps({**TINY, "jitter_pool": 10**9}))
    ran = run(*tokens)
    assert ran.failed_in_one_line(), ran
    assert "defect" not in ran.err


# ---------------------------------------------------------------------- cut off


def cut_off(name: str = "cut.jpg") -> None:
    Image.open("noisy.png").resize((96, 80)).save(name, quality=95)
    Path(name).write_bytes(Path(name).read_bytes()[:1500])


def test_a_picture_that_is_cut_off_is_read_as_far_as_it_goes_if_that_is_specified(here, run):
    cut_off()
    assert run("denoise", "cut.jpg", *BRIEF).failed_in_one_line("cut.jpg", "--salvage", code="unreadable")
    ran = run("denoise", "cut.jpg", *BRIEF, "--steps", 2, "--salvage", "-o", "a.png", "--report", "r.json")
    assert ran.code == 0, ran.err
    assert "cut.jpg is cut off" in ran.out
    assert any("cut.jpg is cut off" in remark for remark in json.loads(Path("r.json").read_text())["remarks"])
    assert "Warning" not in ran.err


def test_a_mask_and_a_classified_picture_are_salvaged_too(here, run):
    cut_off("mask.jpg")
    Image.open("noisy.png").resize((96, 80)).save("whole.png")
    tokens = (
        "inpaint",
        "whole.png",
        "--mask",
        "mask.jpg",
        "--mask-white",
        "missing",
        *BRIEF,
        "--steps",
        2,
        "-o",
        "a.png",
    )
    assert run(*tokens).failed_in_one_line("mask.jpg", "--salvage")
    ran = run(*tokens, "--salvage")
    assert ran.code == 0, ran.err
    assert "mask.jpg is cut off" in ran.out
    cut_off()
    tokens = (
        "saliency",
        "cut.jpg",
        "--classifier",
        "classifiers.small:own_classifier",
        "--method",
        "gradient",
        "-o",
        "s.png",
    )
    assert "--salvage" in run(*tokens).err
    assert "--salvage" not in run(*tokens, "--salvage").err


def test_a_reference_and_a_kernel_are_never_made_up(here, run):
    cut_off()
    for tokens in (("denoise", "noisy.png", "--reference", "cut.jpg"), ("deblur", "noisy.png", "--kernel", "cut.jpg")):
        ran = run(*tokens, *BRIEF, "--salvage")
        assert ran.failed_in_one_line("cut.jpg", code="unreadable"), ran
        assert "--salvage" not in ran.err


def test_pages_that_are_missing_are_no_black_ones(here, run):
    text = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="I:0"><Pixels ID="P:0" '
    text += 'DimensionOrder="XYCZT" Type="uint8" SizeX="24" SizeY="20" SizeC="1" SizeZ="1" SizeT="3">'
    text += "<TiffData/></Pixels></Image></OME>"
    tifffile.imwrite("a.ome.tif", np.zeros((20, 24), np.uint8), description=text, metadata=None)
    assert run("denoise", "a.ome.tif", "--page", "all", *BRIEF).failed_in_one_line("2 of 3 planes", "T 2, T 3")
