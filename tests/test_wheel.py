"""The wheel and the source distribution: built, installed where no checkout is, and used.

Torch and the other packages are those of this environment, on the path of the new one: what is proved is what the files of ours
hold. `python -m benchmarks.install` installs everything anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from cli.tiny import TINY

from preimage.version import __version__

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.long


def called(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    """The output of a command that must succeed; of variables those of Python alone are left out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ran = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=kept | environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    called(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory) -> Path:
    """The folder of programs of an environment with the wheel in it, and nothing else of its own."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False)
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / ("Lib/site-packages" if os.name == "nt" else f"lib/{version}/site-packages")
    pip = (sys.executable, "-m", "pip", "--python", programs / "python")
    called(*pip, "install", "--quiet", "--no-deps", distributions[1])
    # Behind its own packages come those of this environment, but not what makes the checkout importable.
    (packages / "further.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return programs


def test_both_pass_the_checks_of_the_index(distributions):
    called(sys.executable, "-m", "twine", "check", "--strict", *distributions)
    called(sys.executable, "-m", "check_wheel_contents", distributions[1])


def test_the_wheel_holds_the_package_alone_and_all_of_it(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = {name for name in wheel.namelist() if not name.startswith("preimage-")}
    tracked = called("git", "ls-files", "src/preimage").split() if (ROOT / ".git").exists() else []
    assert names >= {name.removeprefix("src/") for name in tracked if (ROOT / name).exists()}
    assert {"preimage/py.typed", "preimage/__init__.pyi", "preimage/cli/pictures/chelsea.png"} <= names
    assert all(name.startswith("preimage/") and "__pycache__" not in name for name in names)


def test_the_source_distribution_can_be_tested(distributions):
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/test_wheel.py", "conftest.py", "Makefile", "README.md", "LICENSE", "studies/__init__.py"} <= names


def test_the_description_has_no_link_into_a_checkout(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        metadata = message_from_string(wheel.read(f"preimage-{__version__}.dist-info/METADATA").decode())
    text = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 10
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert all((ROOT / path).exists() for path in re.findall(r"/main/(docs/[\w/.]+\.(?:md|png))", text))
    assert {"Homepage", "Source", "Issues", "Changelog", "Documentation"} <= {
        each.partition(",")[0] for each in metadata.get_all("Project-URL", [])
    }
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_program_runs_from_the_wheel(installed, tmp_path):
    where = called(installed / "python", "-c", "import preimage; print(preimage.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(installed.parent)
    assert called(installed / "preimage", "--version", cwd=tmp_path).strip() == __version__
    assert "preimage demo" in called(installed / "preimage", "--help", cwd=tmp_path)
    assert "works" in called(installed / "preimage", "doctor", cwd=tmp_path, OMP_NUM_THREADS="1")


def test_the_demo_and_a_picture_are_restored_from_the_wheel(installed, tmp_path, sample_files):
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    (tmp_path / "photo.png").write_bytes((sample_files / "noisy.png").read_bytes())
    tiny = ("--recipe", "tiny.json")
    assert "restored" in called(installed / "preimage", "demo", *tiny, cwd=tmp_path, OMP_NUM_THREADS="1")
    called(installed / "preimage", "denoise", "photo.png", *tiny, cwd=tmp_path, OMP_NUM_THREADS="1")
    assert (tmp_path / "photo-denoise.png").stat().st_size > 1000
    assert (tmp_path / "out" / "demo.png").exists()


def test_type_checkers_see_the_types_of_the_wheel(installed, tmp_path):
    (tmp_path / "use.py").write_text("from preimage import Recipe\n\nreveal_type(Recipe().steps)\n")
    pyright = (sys.executable, "-m", "pyright", "--pythonpath", installed / "python", "use.py")
    assert 'Type of "Recipe().steps" is "int"' in called(*pyright, cwd=tmp_path)
