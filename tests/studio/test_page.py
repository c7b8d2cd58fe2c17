"""The page of the studio in a real browser: what a person does with it, from a dropped picture to a saved file."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from studio.browsing import REPOSITORY, Studio, Tab, clean, noisy, pixels_of, running

pytestmark = pytest.mark.long

BRIEF = {"steps": "40", "stop": '"steps"'}
ENDLESS = {"steps": "100000", "stop": '"steps"'}


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
    tab.wait_for_state("done")
    assert tab.previews() >= 1
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


def test_cancelling_keeps_the_best_so_far(tab: Tab, noisy_png: Path, tmp_path: Path) -> None:
    tab.drop(noisy_png)
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


def test_a_reload_and_a_second_tab_find_a_fit_as_it_is(browser: Any, studio: Studio, tab: Tab, noisy_png: Path) -> None:
    tab.drop(noisy_png)
    tab.choose("Denoise", **ENDLESS)
    job = tab.start()
    tab.until(lambda: tab.previews() >= 3, "three previews")
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


def test_a_killed_server_goes_on_from_its_checkpoint(browser: Any, tmp_path: Path, noisy_png: Path) -> None:
    with running(tmp_path / "own") as studio:
        tab = Tab(browser, studio)
        tab.drop(noisy_png)
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


def test_no_view_has_a_serious_accessibility_issue(
    browser: Any, studio: Studio, noisy_png: Path, tmp_path: Path
) -> None:
    """With PREIMAGE_STUDIO_SHOTS, a folder, screenshots of each view are kept there."""
    from axe_playwright_python.sync_playwright import Axe

    shots = Path(os.environ.get("PREIMAGE_STUDIO_SHOTS", tmp_path / "shots"))
    shots.mkdir(parents=True, exist_ok=True)
    first = Tab(browser, studio)
    first.drop(noisy_png)
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
            # All at once: a view that is drawn anew in between would leave a click waiting for what is there no more.
            tab.page.evaluate("() => document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            found = Axe().run(tab.page).response
            assert len(found["passes"]) > 20, name
            serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
            assert not serious, (name, width, scheme, [(each["id"], each["nodes"][0]["html"]) for each in serious])
            wide = tab.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{name} is {wide} pixels wider than {width}"
        tab.close()
