"""The screenshots of docs/studio.md: each scenario of tests/studio/test_page.py with larger pictures, driven in a real browser.

python -m tools.studio_pictures              # about ten minutes on two cores; needs Debian's chromium and the extra test
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.studio.browsing import REPOSITORY, Studio, Tab, chromium, running

SIZE = {"width": 1280, "height": 800}
LONG, ENDLESS = {"steps": "600", "stop": '"steps"'}, {"steps": "100000", "stop": '"steps"'}
Scenario = Callable[["Shots"], None]


def cat(side: int = 256) -> np.ndarray:
    """Of scikit-image: public domain, as all that is shown."""
    from skimage import data

    return data.chelsea()[20 : 20 + side, 100 : 100 + side]


def noisy(picture: np.ndarray, sigma: float = 25, seed: int = 0) -> np.ndarray:
    values = picture + np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(values, 0, 255).astype(np.uint8)


class Shots:
    """A browser, a studio, and the folder of the screenshots."""

    def __init__(self, browser: Any, studio: Studio, out: Path) -> None:
        self.browser, self.studio, self.out = browser, studio, out

    def tab(self, **options: Any) -> Tab:
        tab = Tab(self.browser, self.studio, **options)
        tab.page.set_viewport_size(SIZE)
        return tab

    def file(self, name: str, values: np.ndarray) -> Path:
        path = self.studio.folder / name
        Image.fromarray(values).save(path)
        return path

    def take(self, name: str, *tabs: Tab) -> None:
        """One picture of a tab, or of several side by side."""
        shown = []
        for tab in tabs:
            tab.page.wait_for_timeout(800)
            shown.append(np.asarray(Image.open(BytesIO(tab.page.screenshot())).convert("RGB")))
        path = self.out / f"studio-{name}.jpg"
        Image.fromarray(np.concatenate(shown, axis=1)).save(path, quality=88)
        print(path, flush=True)


def denoise(shots: Shots) -> None:
    tab = shots.tab()
    tab.drop(shots.file("cat.png", noisy(cat())))
    tab.choose("Denoise", **LONG)
    tab.start()
    tab.until(lambda: tab.previews() >= 3 and tab.step() > 150, "three previews")
    shots.take("fit", tab)
    tab.wait_for_state("done")
    tab.page.locator("[data-finished=true]").wait_for()
    tab.page.locator("canvas.canvas").focus()
    tab.page.keyboard.press("8")
    shots.take("compare", tab)
    tab.close()


def inpaint(shots: Shots) -> None:
    from skimage import data

    tab = shots.tab()
    tab.drop(shots.file("cup.png", data.coffee()[60:316, 140:396]))
    tab.choose("Inpaint", **LONG)
    page = tab.page
    box = page.locator("canvas.canvas").bounding_box()
    x, y, scale = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, (box["height"] - 24) / 256
    page.locator("canvas.canvas").focus()
    while page.locator(".size").inner_text() != "24 px":
        page.keyboard.press("]")
    for first, last in (((-110, 70), (-20, 108)), ((-20, 108), (60, 108))):
        page.mouse.move(x + first[0] * scale, y + first[1] * scale)
        page.mouse.down()
        page.mouse.move(x + last[0] * scale, y + last[1] * scale, steps=20)
        page.mouse.up()
    shots.take("mask", tab)
    tab.start()
    tab.wait_for_state("done")
    page.locator("[data-finished=true]").wait_for()
    shots.take("inpainted", tab)
    tab.close()


def stop(shots: Shots) -> None:
    """Two tabs of one fit, a reload, and the best that is kept."""
    tab = shots.tab()
    tab.drop(shots.file("night.png", noisy(cat(), 40)))
    tab.choose("Denoise", **ENDLESS)
    job = tab.start()
    tab.until(lambda: tab.previews() >= 2 and tab.step() > 100, "two previews")
    tab.page.reload()
    other = shots.tab(color_scheme="dark")
    other.go(f"job/{job}")
    for each in (tab, other):
        each.page.set_viewport_size({"width": 640, "height": 800})
        each.until(lambda each=each: each.previews() >= 1 and each.step() > 0, "the fit in both tabs")
    shots.take("tabs", tab, other)
    other.close()
    tab.page.set_viewport_size(SIZE)
    tab.page.get_by_role("button", name="Stop, keep the best").click()
    tab.wait_for_state("cancelled")
    shots.take("stopped", tab)
    tab.close()


def train_as_the_example(studio: Studio) -> None:
    """The classifier of the tests has seen fewer drawings than that of examples/counterfactual.py."""
    place = studio.folder / "work" / "discs.py"
    text = place.read_text(encoding="utf-8")
    place.write_text(text.replace("draw_shapes(400, 64), epochs=3", "draw_shapes(1200, 64)"), encoding="utf-8")
    subprocess.run([sys.executable, "-c", "import discs; discs.classifier()"], cwd=place.parent, check=True)


def explain(shots: Shots) -> None:
    sys.path.insert(0, str(REPOSITORY / "examples"))
    drawing = import_module("shapes").draw_shapes(1, 64, seed=1).pictures[0].permute(1, 2, 0).numpy()
    for task, name in (("Saliency", "saliency"), ("Counterfactual", "counterfactual")):
        tab = shots.tab()
        tab.go("explain")
        tab.drop(shots.file("disc.png", drawing))
        tab.page.get_by_label("Classifier", exact=True).fill("discs:classifier")
        tab.page.get_by_role("button", name="Ask the classifier").click()
        tab.page.locator(".class").first.wait_for()
        if name == "counterfactual":
            tab.page.locator(".class").nth(1).click()
        tab.choose(task)
        tab.start()
        tab.wait_for_state("done")
        tab.page.locator("[data-finished=true]").wait_for()
        shots.take(name, tab)
        tab.close()


def folder(shots: Shots) -> None:
    from skimage import data

    pictures = {"cat": cat(), "cup": data.coffee()[60:316, 140:396], "rocket": data.rocket()[80:336, 200:456]}
    pictures |= {"astronaut": data.astronaut()[:256, 100:356], "camera": data.camera()[60:316, 120:376]}
    pictures |= {"coins": data.coins()[20:276, 20:276]}
    for name, picture in pictures.items():
        shots.file(f"root/scans/{name}.png", noisy(picture[::2, ::2]))
    tab = shots.tab()
    tab.go("folders")
    tab.page.get_by_role("button", name="scans").click()
    tab.page.get_by_text("6 pictures in this folder").wait_for()
    tab.page.locator("[name=steps]").fill("200")
    tab.page.get_by_role("button", name="Restore the folder").click()
    tab.until(lambda: tab.page.locator(".table th button").count() == 6, "six results")
    tab.page.get_by_role("button", name="cup.png").click()
    tab.page.get_by_role("slider", name="Boundary between before and after").wait_for()
    shots.take("folder", tab)
    tab.close()


def survive(shots: Shots) -> None:
    """The server is killed in mid-fit, and goes on."""
    tab = shots.tab()
    tab.drop(shots.file("evening.png", noisy(cat(), 30, 1)))
    tab.choose("Denoise", **ENDLESS)
    job = tab.start()
    out = shots.studio.folder / "state" / "jobs" / job / "out"
    tab.until(lambda: any(out.glob("*.checkpoint")), "a checkpoint")
    reached = tab.step()
    shots.studio.kill()
    tab.page.get_by_text("The server does not answer").wait_for()
    shots.take("killed", tab)
    shots.studio.start()
    tab.page.get_by_text("The server does not answer").wait_for(state="hidden")
    tab.until(lambda: tab.step() > reached, "the fit to go on")
    tab.page.get_by_role("button", name="Stop, keep the best").click()
    tab.wait_for_state("cancelled")
    tab.close()


def jobs(shots: Shots) -> None:
    tab = shots.tab(color_scheme="dark")
    tab.go("queue")
    tab.page.locator("[data-job]").first.wait_for()
    shots.take("jobs", tab)
    tab.close()


SCENARIOS: dict[str, Scenario] = {
    each.__name__: each for each in (denoise, inpaint, stop, explain, folder, survive, jobs)
}


def main() -> int:
    """Take them."""
    parser = argparse.ArgumentParser("python -m tools.studio_pictures", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--only", choices=list(SCENARIOS), nargs="+", default=list(SCENARIOS))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, chromium() as browser, running(Path(place) / "studio") as studio:
        train_as_the_example(studio)
        for name in given.only:
            SCENARIOS[name](Shots(browser, studio, given.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
