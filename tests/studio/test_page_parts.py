"""Parts of the page in a real browser, with no fit: pages and contrast, keys, masks, names, texts."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from studio.browsing import REPOSITORY, Tab, settled_pixels_of

pytestmark = pytest.mark.long


def test_a_stack_of_floats_has_pages_and_a_contrast_window(tab: Tab, tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    ramp = np.linspace(-2, 3, 48 * 48, dtype=np.float32).reshape(48, 48)
    tifffile.imwrite(path, np.stack([ramp, ramp.T, ramp[::-1]]), photometric="minisblack")
    tab.drop(path)
    page = tab.page
    assert "32 bits (float32), gray" in page.locator(".facts").inner_text()
    seen = [settled_pixels_of(tab)]
    page.locator(".picture-controls .slider input").fill("2")
    seen.append(settled_pixels_of(tab))
    page.get_by_label("Value shown white").first.fill("0")
    page.keyboard.press("Enter")
    seen.append(settled_pixels_of(tab))
    assert not np.array_equal(seen[0], seen[1])
    assert seen[2].mean() > seen[1].mean() + 20
    assert page.locator("[name=page]").input_value() == "2"


def test_tab_shows_the_original_while_it_is_held_and_moves_on_when_it_is_pressed(tab: Tab, noisy_png: Path) -> None:
    page = tab.page
    tab.drop(noisy_png)
    tab.choose("Inpaint")
    canvas = page.locator("canvas.canvas")
    bare = settled_pixels_of(tab)
    canvas.focus()
    for key in ("Space", "ArrowRight", "ArrowRight", "ArrowDown", "Space"):  # painted by the keyboard alone
        page.keyboard.press(key)
    page.keyboard.press("v")
    painted = settled_pixels_of(tab)
    assert "pixels" in page.locator(".count").inner_text()
    page.keyboard.down("Tab")
    page.keyboard.down("Tab")  # as a key that is held repeats
    held = settled_pixels_of(tab)
    page.keyboard.up("Tab")
    assert np.array_equal(held, bare)
    assert not np.array_equal(painted, bare)
    assert np.abs(settled_pixels_of(tab) - painted).max() == 0
    assert canvas.evaluate("(node) => node === document.activeElement")
    page.keyboard.press("Tab")
    assert not canvas.evaluate("(node) => node === document.activeElement")


def test_script_in_the_name_of_a_file_is_text(tab: Tab, noisy_png: Path) -> None:
    name = "<img src=x onerror=alert(1)><script>document.title=1<'script>.png"
    tab.drop(noisy_png, name)
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


def test_every_text_is_in_the_one_file_and_none_is_left_over() -> None:
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


def test_every_module_is_fetched_at_once_and_the_page_itself_has_no_script_or_style() -> None:
    page = REPOSITORY / "src" / "preimage" / "studio" / "page"
    index = (page / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'"/page/([\w.-]+\.js)"', index))
    assert named == {path.name for path in page.glob("*.js")}
    assert re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", index) is None
