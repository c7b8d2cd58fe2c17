"""A studio in a process of its own, and a real browser that opens it."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
MINUTES = 5  # a loaded machine needs long to import PyTorch, and that is no failure
PATIENCE = MINUTES * 60_000

# A classifier of examples/counterfactual.py, as `--classifier discs:classifier` has it.
CLASSIFIER = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {examples!r})
from counterfactual import MEAN, STD, trained
from counterfactual import classifier as network
from shapes import CLASSES, draw_shapes
from preimage import Classifier


def classifier():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    kept = Path(__file__).with_name("discs.weights")
    if not kept.exists():
        torch.save(trained(draw_shapes(400, 64), epochs=3).model.state_dict(), kept)
    model = network()
    model.load_state_dict(torch.load(kept, weights_only=True))
    return Classifier(model, CLASSES, MEAN, STD)
"""


class Studio:
    """`preimage studio` in a process: it can be killed, and started again on the same port and folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "root" / "scans").mkdir(parents=True)
        (folder / "work").mkdir()
        text = CLASSIFIER.format(examples=str(REPOSITORY / "examples"))
        (folder / "work" / "discs.py").write_text(text, encoding="utf-8")
        self.port = 0
        self.address = ""
        self.process: subprocess.Popen[str] | None = None

    @property
    def base(self) -> str:
        return self.address.partition("?")[0]

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "preimage",
            "studio",
            "--no-browser",
            "--port",
            str(self.port),
            "--workers",
            "2",
        ]
        command += ["--folder", str(self.folder / "state"), "--root", str(self.folder / "root")]
        command += ["--classifier", "discs:classifier"]
        own = {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            command, cwd=self.folder / "work", env={**os.environ, **own}, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), self.address
        self.port = int(self.address.split(":")[2].partition("/")[0])

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None


@contextmanager
def running(folder: Path) -> Iterator[Studio]:
    """A studio that is ended at the end."""
    studio = Studio(folder)
    try:
        studio.start()
        yield studio
    finally:
        studio.close()


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium; without one the test is skipped, and fails where CI=1 says that there must be one."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        found = None
    if found is None:
        if os.environ.get("CI") == "1":
            pytest.fail("CI needs chromium and playwright: apt-get install chromium; pip install 'preimage[test]'")
        pytest.skip("no chromium, or no playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A tab of the browser with the studio's page in it. Errors of its scripts fail the test that looks at them."""

    def __init__(self, browser: Any, studio: Studio, **context: Any) -> None:
        self.studio = studio
        self.context = browser.new_context(viewport={"width": 1440, "height": 900}, **context)
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._listen)
        self.page.goto(studio.address)
        self.page.locator("html[data-ready]").wait_for()

    def _listen(self, message: Any) -> None:
        if message.type == "error" and "Content Security Policy" in message.text:
            self.errors.append(message.text)

    def go(self, address: str) -> None:
        self.page.goto(f"{self.studio.base}#/{address}")

    def drop(self, path: Path, name: str | None = None) -> None:
        """Drop a file on the page, as a hand does, and wait until its facts are known."""
        data = base64.b64encode(path.read_bytes()).decode()
        transfer = self.page.evaluate_handle(
            """([data, name]) => {
                const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], name));
                return transfer;
            }""",
            [data, name or path.name],
        )
        self.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
        self.page.locator(".start-bar button:enabled").wait_for()

    def choose(self, task: str, **options: str) -> None:
        """A task by its name on the page, and options by theirs."""
        self.page.get_by_role("radio", name=task, exact=True).check()
        for name, value in options.items():
            field = self.page.locator(f"[name={name}]")
            if not field.is_visible():
                self.page.locator("details", has=field).locator("summary").click()
            if field.evaluate("(node) => node.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)

    def start(self) -> str:
        """Start the job; its id."""
        self.page.locator(".start-bar button").click()
        self.page.wait_for_url(re.compile("#/job/"))
        return self.page.url.rpartition("/")[2]

    def wait_for_state(self, state: str) -> None:
        over = self.page.locator(f".job-head .badge.{state}, .job-head .badge.failed")
        over.wait_for()
        assert state in (over.get_attribute("class") or ""), self.page.locator(".why").inner_text()

    def until(self, holds: Any, what: str) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + PATIENCE / 1000
        while not holds():
            assert time.monotonic() < end, f"not within {MINUTES} minutes: {what}"
            self.page.wait_for_timeout(100)

    def previews(self) -> int:
        return int(self.page.locator(".stage").get_attribute("data-previews") or 0)

    def step(self) -> int:
        found = re.search(r"step ([\d,]+)", self.page.locator(".progress").inner_text())
        return int(found[1].replace(",", "")) if found else 0

    def download(self, name: str, target: Path) -> Path:
        with self.page.expect_download() as coming:
            self.page.locator(f"a[data-output={name}]").click()
        coming.value.save_as(target)
        return target

    def get(self, address: str) -> Any:
        """The server's answer, with the cookie of the tab."""
        return self.page.request.get(f"{self.studio.base}api/{address}").json()

    def close(self) -> None:
        self.context.close()
        assert self.errors == []


def clean(side: int = 48) -> np.ndarray:
    from skimage import data

    return data.chelsea()[60 : 60 + side, 130 : 130 + side]


def noisy(side: int = 48, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.clip(clean(side) + random.normal(0, 25, (side, side, 3)), 0, 255)


def pixels_of(tab: Tab) -> np.ndarray:
    """The canvas without its edge, where the focus is shown."""
    shown = Image.open(BytesIO(tab.page.locator("canvas.canvas").screenshot())).convert("RGB")
    return np.asarray(shown).astype(int)[8:-8, 8:-8]


def settled_pixels_of(tab: Tab) -> np.ndarray:
    """The picture when it changes no more."""
    tab.page.wait_for_timeout(600)
    last = pixels_of(tab)
    while True:
        tab.page.wait_for_timeout(600)
        now = pixels_of(tab)
        if np.array_equal(now, last):
            return now
        last = now
