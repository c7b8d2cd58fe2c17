"""The core alone: without the packages of an extra the commands that need none work, and the others say one line.

Each command runs in a process of its own, in which these packages cannot be imported, as if they were not installed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cli.tiny import ENVIRONMENT, TINY

from preimage.errors import MissingExtra
from preimage.extras import EXTRAS, extra, is_installed, require

ROOT = Path(__file__).parents[1]
CORE = {"torch", "numpy", "pillow", "tifffile", "opencv-python-headless", "psutil", "rich", "cyclopts"}

# A process in which packages are blocked: to look for one finds nothing, and to import one fails. It runs commands in turn.
PROCESS = """
import contextlib, io, json, sys

blocked, commands = json.load(sys.stdin)

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from preimage.cli import main

found = {}
for name, tokens in commands.items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(tokens)
    found[name] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(found))
"""


def installed_by(name: str) -> set[str]:
    """The packages of an extra, by their names in import statements."""
    return set(EXTRAS[name].packages)


EVERY = set().union(*map(installed_by, EXTRAS))


Ran = tuple[int, str, str]
"""Exit code, stdout and stderr of a command."""


def called(folder: Path, commands: dict[str, tuple[object, ...]]) -> dict[str, Ran]:
    """What commands came to in a folder, in a process without the packages of any extra."""
    tokens = {name: [str(token) for token in each] for name, each in commands.items()}
    ran = subprocess.run(
        [sys.executable, "-c", PROCESS],
        input=json.dumps([sorted(EVERY), tokens]),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=folder,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr
    return {name: (code, out, err) for name, (code, out, err) in json.loads(ran.stdout.splitlines()[-1]).items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sample_files) -> Path:
    """A folder with pictures, a tiny recipe, and files that need an extra to be read."""
    folder = tmp_path_factory.mktemp("core")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    for name in ("noisy.png", "mask.png", "photo.png"):
        (folder / name).write_bytes((sample_files / name).read_bytes())
    (folder / "image.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    (folder / "sky.fits").write_bytes(b"SIMPLE  =                    T".ljust(80) + b" " * 2800)
    # A TIFF of one directory with the tag DNGVersion.
    (folder / "camera.dng").write_bytes(b"II*\0\x08\0\0\0\x01\0\x12\xc6\x01\0\x04\0\0\0\x01\x04" + bytes(200))
    return folder


QUICKLY = ("--recipe", "tiny.json")
CORE_COMMANDS: dict[str, tuple[object, ...]] = {
    "help": ("--help",),
    "help of a task": ("saliency", "--help"),
    "denoise": (
        "denoise",
        "noisy.png",
        "-o",
        "denoised.png",
        "--recipe",
        "tiny.json",
        "--film",
        "a.gif",
        "--report",
        "a.json",
    ),
    "super-resolve": ("super-resolve", "noisy.png", "-o", "enlarged.png", "--factor", 2, *QUICKLY),
    "inpaint": (
        "inpaint",
        "noisy.png",
        "-o",
        "filled.png",
        "--mask",
        "mask.png",
        "--mask-white",
        "valid",
        "--recipe",
        "tiny.json",
    ),
    "deblur": ("deblur", "noisy.png", "-o", "sharp.png", "--kernel", "gaussian:1", *QUICKLY),
    "demo": ("demo", "-o", "cat.png", *QUICKLY),
    "doctor": ("doctor", "--json"),
}


@pytest.fixture(scope="module")
def core(folder) -> dict[str, Ran]:
    return called(folder, CORE_COMMANDS)


@pytest.mark.parametrize("name", CORE_COMMANDS)
def test_the_core_needs_no_extra(name, core, folder):
    code, out, err = core[name]
    assert code == 0, err
    if "-o" in CORE_COMMANDS[name]:
        written = folder / str(CORE_COMMANDS[name][CORE_COMMANDS[name].index("-o") + 1])
        assert written.stat().st_size > 1000
        assert out


def test_a_demo_without_figures_says_how_to_have_one(core):
    assert "no figure was drawn: pip install 'preimage[figures]'" in core["demo"][1]


def test_the_doctor_names_what_installs_every_extra(core):
    found = json.loads(core["doctor"][1])["extras"]
    assert list(found) == list(EXTRAS)
    for name, said in found.items():
        assert f"pip install 'preimage[{name}]'" in said


PHOTO = ("photo.png", "-o", "out.png", "--classifier")
NEEDING: dict[str, tuple[object, ...]] = {
    "figures": ("denoise", "noisy.png", "-o", "out.png", "--figure", "figure.png"),
    "figures of a map": ("saliency", *PHOTO, "absent.pt"),
    "figures of a page": ("counterfactual", *PHOTO, "absent.pt", "--html", "why.html"),
    "metrics": ("denoise", "noisy.png", "-o", "out.png", "--reference", "photo.png"),
    "classifiers": ("invert", *PHOTO, "torchvision:resnet18@none"),
    "classifiers of a counterfactual": ("counterfactual", *PHOTO, "absent.pt"),
    "classifiers of a training": ("train", "absent/", "-o", "out.pt"),
    "explain": ("invert", *PHOTO, "timm:test_resnet@none"),
    "explain of transformers": ("invert", *PHOTO, "hf:model"),
    "fits": ("denoise", "sky.fits", "-o", "out.png"),
    "heif": ("denoise", "image.heic", "-o", "out.png"),
    "raw": ("denoise", "camera.dng", "-o", "out.png"),
    "ray": ("denoise", "noisy.png", "photo.png", "-o", "out/", "--ray", "auto"),
}
"""Commands by the extra that each needs, whether at once or, as the figure does, when all is computed."""


@pytest.fixture(scope="module")
def refused(folder) -> dict[str, Ran]:
    return called(folder, NEEDING)


@pytest.mark.parametrize("name", NEEDING)
def test_a_command_without_its_extra_is_one_line_and_writes_nothing(name, refused, folder):
    code, out, err = refused[name]
    assert (code, out) == (2, ""), out + err
    (line,) = err.splitlines()
    assert line.startswith("preimage: ")
    assert re.search(rf"is not installed: pip install 'preimage\[{name.partition(' ')[0]}\]'", line), line
    assert not (folder / "out.png").exists()


def test_attacks_and_their_toolbox_are_apart(monkeypatch):
    monkeypatch.setitem(sys.modules, "art", None)  # as if it could not be imported
    for name in [name for name in sys.modules if name.startswith("art.")]:
        monkeypatch.delitem(sys.modules, name)
    from preimage.defend.checks import importing_toolbox

    absent = r"adversarial-robustness-toolbox .*'preimage\[defend\]'"
    with pytest.raises(MissingExtra, match=absent), importing_toolbox("art.attacks.evasion"):
        import art.attacks.evasion  # noqa: F401


# ---------------------------------------------------------------------- the one way, and that nothing goes round it


def test_a_package_that_cannot_be_imported_is_told_from_one_that_is_absent():
    broken = r"^matplotlib cannot be imported \(no library\): pip install --force-reinstall 'preimage\[figures\]'$"
    with pytest.raises(MissingExtra, match=broken), extra("figures"):
        raise ImportError("no library", name="matplotlib")
    absent = r"^matplotlib is not installed: pip install 'preimage\[figures\]', or draw it$"
    with pytest.raises(MissingExtra, match=absent), extra("figures", way_out="or draw it"):
        raise ModuleNotFoundError("No module named 'matplotlib.figure'", name="matplotlib.figure")


def test_what_is_required_and_there_is_no_error():
    for name in EXTRAS:
        require(name)


def test_a_package_that_is_not_there_is_not_installed():
    assert is_installed("torch")
    assert not is_installed("no_such.package")


def test_the_extras_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {
        name: {re.split(r"[\[>=<]", each)[0] for each in packages}
        for name, packages in project["optional-dependencies"].items()
    }
    assert {re.split(r"[>=<]", each)[0] for each in project["dependencies"]} == CORE
    for name, each in EXTRAS.items():
        assert listed[name] == set(each.packages.values()) - {"safetensors"}, name  # of transformers and timm
    everything = re.search(r"\[(.*)\]", project["optional-dependencies"]["all"][0])
    assert everything is not None
    assert set(everything[1].split(",")) == set(EXTRAS)


def test_no_module_imports_what_is_not_in_the_core_but_within_its_extra():
    """Of every import of such a package the line before it, less indented, is `with extra(...)`, or another import within it.

    All of cluster.py is reached with what `connected` (ray_cluster.py) gives alone, and the studio by `serve`: both ask for their
    extras first.
    """
    wrong = []
    names = "|".join(sorted(EVERY))
    for path in (ROOT / "src").rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        own = path.name if path.parent.name != "studio" else "studio"
        for number, line in enumerate(lines):
            found = re.match(rf"(\s*)(?:import|from) (?:{names})\b", line)
            if found is None:
                continue
            indent = len(found[1])
            outer = [each for each in lines[:number] if each.strip() and len(each) - len(each.lstrip()) < indent]
            before = outer[-1] if outer else ""
            if not re.search(r"with (extra|importing_toolbox)\(|TYPE_CHECKING", before) and own not in (
                "cluster.py",
                "ray_cluster.py",
                "studio",
            ):
                wrong.append(f"{path.name}:{number + 1}: {line.strip()}")
    assert wrong == []
