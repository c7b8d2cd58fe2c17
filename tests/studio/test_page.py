"""The page of the studio in a real browser: what a person does with it, from a dropped picture to a saved file."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from studio.browsing import REPOSITORY, Studio, Tab, chromium, running

pytestmark = pytest.mark.long

BRIEF = {"steps": "40", "stop": '"steps"'}
ENDLESS = {"steps": "100000", "stop": '"steps"'}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def studio(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with running(tmp_path_factory.mktemp("studio")) as found:
        yield found


@pytest.fixture
def tab(browser: Any, studio: Studio) -> Iterator[Tab]:
    found = Tab(browser, studio)
    yield found
    found.close()


def clean(side: int = 48) -> np.ndarray:
    from skimage import data

    return data.chelsea()[60 : 60 + side, 130 : 130 + side]


def noisy(side: int = 48, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.clip(clean(side) + random.normal(0, 25, (side, side, 3)), 0, 255)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(noisy().astype(np.uint8)).save(path)
    return path


def test_a_noisy_16_bit_tiff_is_denoised_and_half_of_the_result_is_what_the_command_writes(
    tab: Tab, tmp_path: Path
) -> None:
    page = tab.page
    path = tmp_path / "cat 16.tif"
    tifffile.imwrite(path, (noisy() * 257).astype(np.uint16), photometric="rgb")
    tab.drop(path)
    assert "16 bits (uint16), 3 channels" in page.locator(".facts").inner_text()
    assert page.get_by_role("radio", name="Denoise").is_checked()
    tab.choose("Denoise", **(BRIEF | {"steps": "120"}))
    tab.start()
    tab.until(lambda: tab.previews() >= 3, "three previews")
    tab.wait_for_state("done")
    page.locator("[data-finished=true]").wait_for()

    handle = page.get_by_role("slider", name="Boundary between before and after")
    handle.focus()
    before = pixels_of(tab)
    for _ in range(10):
        handle.press("ArrowRight")
    assert handle.get_attribute("aria-valuenow") == "70"
    tab.until(lambda: np.any(pixels_of(tab) != before), "the wipe to move")

    page.locator(".sliders input").first.fill("0.5")
    tab.until(
        lambda: "strength=0.5" in (page.locator("a[data-output=output]").get_attribute("href") or ""), "the strength"
    )
    got = tifffile.imread(tab.download("output", tmp_path / "got.tif"))
    command = shlex.split(page.locator(".command-line code").inner_text())
    assert command[:3] == ["preimage", "denoise", "cat 16.tif"]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    subprocess.run(
        [sys.executable, "-m", *command, "--strength", "0.5"], cwd=tmp_path, env=env, check=True, capture_output=True
    )
    written = tifffile.imread(tmp_path / command[command.index("-o") + 1])
    assert got.dtype == np.uint16
    assert np.array_equal(got, written)


def pixels_of(tab: Tab) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(tab.page.locator("canvas.canvas").screenshot())).convert("RGB")).astype(int)


def test_a_scratch_is_painted_over_and_filled_in_and_the_mask_can_be_undone(tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    picture = clean().copy()
    picture[22:26, 6:42] = 255
    path = tmp_path / "scratch.png"
    Image.fromarray(picture).save(path)
    tab.drop(path)
    tab.choose("Inpaint", **BRIEF)
    count = page.locator(".count")
    box = page.locator("canvas.canvas").bounding_box()
    scale = min(16, (box["height"] - 24) / 48)

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + box["width"] / 2 + (x - 24) * scale, box["y"] + box["height"] / 2 + (y - 24) * scale

    page.locator("canvas.canvas").focus()
    while page.locator(".size").inner_text() != "8 px":
        page.keyboard.press("]")
    page.mouse.move(*at(4, 24))
    page.mouse.down()
    page.mouse.move(*at(44, 24), steps=10)
    page.mouse.up()
    painted = count.inner_text()
    assert "pixels" in painted
    page.keyboard.press("Control+z")
    assert count.inner_text() == "Paint what is to be filled in"
    page.keyboard.press("Control+Shift+z")
    assert count.inner_text() == painted

    with page.expect_download() as coming:
        page.get_by_role("button", name="Save the mask as PNG").click()
    coming.value.save_as(tmp_path / "mask.png")
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    assert mask.shape == (48, 48)
    assert mask[22:26, 6:42].min() == 255
    assert mask[:18].max() == 0
    page.get_by_role("button", name="Clear the mask").click()
    page.locator(".mask-bar input[type=file]").set_input_files(tmp_path / "mask.png")
    tab.until(lambda: count.inner_text() == painted, "the mask to be loaded")

    tab.start()
    tab.wait_for_state("done")
    filled = np.asarray(Image.open(tab.download("output", tmp_path / "filled.png")))
    hidden = mask > 0
    assert np.array_equal(filled[~hidden], picture[~hidden])
    assert filled[22:26, 6:42].mean() < 230
    page.go_back()
    tab.until(lambda: count.inner_text() == painted, "the mask to be there still")


def test_cancelling_keeps_the_best_so_far(tab: Tab, photo: Path, tmp_path: Path) -> None:
    tab.drop(photo)
    tab.choose("Denoise", **ENDLESS)
    tab.start()
    tab.until(lambda: tab.step() > 20, "twenty steps")
    tab.page.get_by_role("button", name="Pause").click()
    tab.wait_for_state("paused")
    tab.page.get_by_role("button", name="Go on").click()
    tab.wait_for_state("running")
    tab.page.get_by_role("button", name="Stop, keep the best").click()
    tab.wait_for_state("cancelled")
    result = np.asarray(Image.open(tab.download("output", tmp_path / "best.png")))
    assert np.abs(result - clean().astype(float)).mean() < np.abs(noisy() - clean()).mean()


def test_a_reload_and_a_second_tab_find_a_fit_as_it_is(browser: Any, studio: Studio, tab: Tab, photo: Path) -> None:
    tab.drop(photo)
    tab.choose("Denoise", **ENDLESS)
    job = tab.start()
    tab.until(lambda: tab.previews() >= 1, "a preview")
    tab.page.reload()
    tab.until(lambda: tab.previews() >= 1 and tab.step() > 0, "the fit after a reload")
    other = Tab(browser, studio)
    other.go(f"job/{job}")
    other.until(lambda: other.previews() >= 1 and other.step() > 0, "the fit in the other tab")
    other.page.get_by_role("button", name="Stop, keep the best").click()
    tab.wait_for_state("cancelled")
    other.wait_for_state("cancelled")
    other.go("queue")
    row = other.page.locator(f"[data-job='{job}']")
    row.get_by_role("button", name="Delete job").click()
    other.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    tab.page.get_by_text("This job is not here any more").wait_for()
    other.close()


def test_a_killed_server_goes_on_from_its_checkpoint(browser: Any, tmp_path: Path, photo: Path) -> None:
    with running(tmp_path / "own") as studio:
        tab = Tab(browser, studio)
        tab.drop(photo)
        tab.choose("Denoise", **ENDLESS)
        job = tab.start()
        out = tmp_path / "own" / "state" / "jobs" / job / "out"
        tab.until(lambda: any(out.glob("*.checkpoint")), "a checkpoint")
        reached = tab.step()
        studio.kill()
        tab.page.get_by_text("The server does not answer").wait_for()
        studio.start()
        tab.page.get_by_text("The server does not answer").wait_for(state="hidden")
        tab.until(lambda: tab.step() > reached, "the fit to go on")
        points = [step for step, _ in tab.get(f"jobs/{job}/curve")["loss"]]
        assert points == sorted(set(points))
        tab.page.get_by_role("button", name="Stop, keep the best").click()
        tab.wait_for_state("cancelled")
        tab.close()


def test_a_counterfactual_of_the_discs(tab: Tab, tmp_path: Path) -> None:
    sys.path.insert(0, str(REPOSITORY / "examples"))
    try:
        from shapes import draw_shapes
    finally:
        sys.path.pop(0)
    path = tmp_path / "disc.png"
    Image.fromarray(draw_shapes(1, 64, seed=1).pictures[0].permute(1, 2, 0).numpy()).save(path)
    page = tab.page
    tab.go("explain")
    tab.drop(path)
    page.get_by_label("Classifier", exact=True).fill("discs:classifier")
    page.get_by_role("button", name="Ask the classifier").click()
    classes = page.locator(".class")
    classes.first.wait_for()
    assert classes.first.inner_text().startswith("orange disc")
    classes.nth(1).click()
    tab.choose("Counterfactual")
    tab.start()
    tab.wait_for_state("done")
    page.locator("[data-finished=true]").wait_for()
    assert page.get_by_role("button", name="Before | after").get_attribute("aria-pressed") == "true"
    page.get_by_text("Probability of the target over steps").wait_for()
    report = tab.get(f"jobs/{page.url.rpartition('/')[2]}")["report"]
    assert report["valid"]


def test_a_folder_of_six(tab: Tab) -> None:
    for number in range(6):
        image = Image.fromarray(noisy(32, number).astype(np.uint8))
        image.save(tab.studio.folder / "root" / "scans" / f"scan-{number}.png")
    page = tab.page
    tab.go("folders")
    page.get_by_role("button", name="scans").click()
    page.get_by_text("6 pictures in this folder").wait_for()
    tab.page.locator("[name=steps]").fill("20")
    page.get_by_role("button", name="Restore the folder").click()
    tab.until(lambda: page.locator(".table th button").count() == 6, "six results")
    page.get_by_role("button", name="scan-3.png").click()
    page.get_by_role("slider", name="Boundary between before and after").wait_for()
    tab.until(lambda: page.locator(".job-head .badge.done").count() == 1, "the end of the run")


def test_script_in_the_name_of_a_file_is_text(tab: Tab, photo: Path) -> None:
    name = "<img src=x onerror=alert(1)><script>document.title=1<'script>.png"
    tab.drop(photo, name)
    assert tab.page.locator("h1.file-name").inner_text() == name
    tab.go("restore")
    assert tab.page.locator(".tile .name").first.inner_text() == name
    assert tab.page.locator("img[src=x], main script").count() == 0


def test_a_mask_of_forty_megapixels_is_painted_undone_and_written(tab: Tab, tmp_path: Path) -> None:
    done = tab.page.evaluate(
        """async () => {
            const { Mask } = await import("/page/mask.js");
            const { grayPng } = await import("/page/png.js");
            const mask = new Mask(7728, 5152);
            const begun = performance.now();
            for (let stroke = 0; stroke < 60; stroke++) {
                mask.begin();
                for (let k = 0; k < 4; k++)
                    mask.line({x: 100 * stroke, y: 90 * k}, {x: 100 * stroke + 300, y: 5000 - 90 * k}, 150, 1);
                mask.end();
            }
            const each = (performance.now() - begun) / 240;
            const painted = mask.painted;
            let undone = 0;
            while (mask.done.length) { mask.undo(); undone += 1; }
            const left = mask.painted;
            while (mask.undone.length) mask.redo();
            const blob = await grayPng(mask.width, mask.height, (y, into) => mask.readRow(y, into));
            return { each, painted, undone, left, again: mask.painted, bytes: [...new Uint8Array(await blob.arrayBuffer())] };
        }"""
    )
    assert done["undone"] == 50
    assert 0 < done["left"] < done["painted"] == done["again"]
    mask = np.asarray(Image.open(BytesIO(bytes(done["bytes"]))))
    assert mask.shape == (5152, 7728)
    assert int((mask == 255).sum()) == done["painted"]
    assert int((mask == 0).sum()) == mask.size - done["painted"]


def test_no_view_has_a_serious_accessibility_issue(browser: Any, studio: Studio, photo: Path, tmp_path: Path) -> None:
    """With PREIMAGE_STUDIO_SHOTS, a folder, screenshots of each view are kept there."""
    from axe_playwright_python.sync_playwright import Axe

    shots = Path(os.environ.get("PREIMAGE_STUDIO_SHOTS", tmp_path / "shots"))
    shots.mkdir(parents=True, exist_ok=True)
    first = Tab(browser, studio)
    first.drop(photo)
    file = first.page.url.rpartition("/")[2]
    first.choose("Denoise", **BRIEF)
    job = first.start()
    first.wait_for_state("done")
    runs = first.get("folders/runs")
    first.close()
    views = {
        "empty": "restore",
        "file": f"restore/{file}",
        "explain": f"explain/{file}",
        "job": f"job/{job}",
        "queue": "queue",
    }
    views |= {"folders": "folders"} | ({"run": f"folders/{runs[0]['id']}"} if runs else {})
    for width, scheme in ((1440, "light"), (1440, "dark"), (360, "light"), (360, "dark")):
        tab = Tab(browser, studio, color_scheme=scheme)
        tab.page.set_viewport_size({"width": width, "height": 900 if width > 900 else 760})
        for name, address in views.items():
            tab.go(address)
            tab.page.wait_for_timeout(800)
            tab.page.screenshot(path=shots / f"{name}-{width}-{scheme}.png")
            for summary in tab.page.locator("summary").all():
                summary.click()
            found = Axe().run(tab.page).response
            assert len(found["passes"]) > 20, name
            serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
            assert not serious, (name, width, scheme, [(each["id"], each["nodes"][0]["html"]) for each in serious])
            wide = tab.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{name} is {wide} pixels wider than {width}"
        tab.close()


def test_every_text_is_in_the_one_file_and_none_is_left_over() -> None:
    import json
    import re

    page = REPOSITORY / "src" / "preimage" / "studio" / "page"
    texts = json.loads((page / "texts.en.json").read_text(encoding="utf-8"))
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted(page.glob("*.js")))
    assert "innerHTML" not in code.replace("without innerHTML", "")
    used = set(re.findall(r"""\btO?r?\(\s*["']([\w.-]+)["']""", code))
    assert used - texts.keys() == set()
    stems = {re.escape(stem) for stem in re.findall(r"""`([\w.-]+\.)\$\{""", code)}
    ternary = set(re.findall(r"""["']([a-z]+\.[\w.-]+)["']""", code))
    ends = tuple(re.findall(r"""`\$\{[\w.]+\}(\.[\w.]+)`""", code))
    made = {key for key in texts if key.endswith(ends) or any(re.match(stem, key) for stem in stems)}
    left = [key for key in texts if key not in used | ternary | made]
    assert left == []
