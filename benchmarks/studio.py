"""The studio: how soon it is ready and painted, how late a picture of the fit is on the page, and what watching costs the fit.

    python -m benchmarks.studio              # about six minutes on 2 cores; needs the extra studio, playwright and chromium

The server is `preimage studio` in a process, the page is Debian's Chromium without a window on the same machine, the picture is
256 pixels of a photograph of kodak24 with Gaussian noise. A preview is late by the time from the step's picture being at hand in
the job's process to its being on the page. Watching costs what the seconds of a fit under the page's eyes are above those of the
same fit that nobody watches, one thread each, by turns. Rows are appended to docs/results/studio_seconds.csv.
"""

from __future__ import annotations

import http.client
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from preimage.images import read
from preimage.jobs.job import Job, RunOptions
from preimage.jobs.run import run_job
from studies.harness.imaging import pillow_of, with_gaussian_noise
from studies.harness.rows import append_rows
from studies.harness.study import Run
from studies.harness.tables import markdown
from tests.studio.browsing import Studio, Tab, chromium

TABLE = Path("docs/results/studio_seconds.csv")
RUNS = 5
SIDE, SIGMA = 256, 25.0
STEPS, TURNS = 120, 3
LIMITS = {"ready": 3.0, "first paint": 1.0, "preview": 0.3, "watching": 0.05}
SEEN = """() => {
    const stage = document.querySelector(".stage");
    window.late = [];
    new MutationObserver(() => window.late.push(Date.now() / 1000 - Number(stage.dataset.previewAt)))
        .observe(stage, { attributes: true, attributeFilter: ["data-previews"] });
}"""


def noisy(folder: Path) -> Path:
    """The middle of a photograph, with noise."""
    photograph = sorted(Run("studio", "small").path("restoration/kodak24").glob("*.png"))[4]
    whole = read(photograph).tensor
    top, left = ((side - SIDE) // 2 for side in whole.shape[-2:])
    path = folder / "noisy.png"
    pillow_of(with_gaussian_noise(whole[..., top : top + SIDE, left : left + SIDE], SIGMA / 255, seed=0)).save(path)
    return path


def seconds_until_ready(folder: Path) -> float:
    """From the start of the command to the first answer."""
    command = [sys.executable, "-m", "preimage", "studio", "--no-browser", "--port", "0", "--folder", str(folder)]
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        port, _, query = address.removeprefix("http://127.0.0.1:").partition("/")
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
            try:
                connection.request("GET", f"/{query}")
                status = connection.getresponse().status
                break
            except OSError:
                time.sleep(0.01)
            finally:
                connection.close()
        found = time.perf_counter() - begun
        assert status < 400, status
        process.terminate()
    return found


def seconds_to_first_paint(browser: Any, studio: Studio) -> float:
    """By the browser's own count, in a tab that has nothing kept."""
    tab = Tab(browser, studio)
    entries = "performance.getEntriesByName('first-contentful-paint').map((each) => each.startTime)"
    (found,) = tab.page.evaluate(entries)
    tab.close()
    return found / 1000


def watched(browser: Any, studio: Studio, picture: Path) -> tuple[float, list[float]]:
    """Seconds of a fit that a page watches, and of each preview how late it was."""
    tab = Tab(browser, studio)
    tab.drop(picture)
    tab.choose("Denoise", steps=str(STEPS), stop='"steps"')
    job = tab.start()
    tab.page.locator(".stage").wait_for()
    tab.page.evaluate(SEEN)
    tab.wait_for_state("done")
    late = tab.page.evaluate("window.late")
    seconds = tab.get(f"jobs/{job}")["report"]["seconds"]
    tab.close()
    return float(seconds), late


def alone(picture: Path, folder: Path, number: int) -> float:
    """Seconds of the same fit that nobody watches, in a process of its own."""
    report = folder / f"alone-{number}.json"
    options = {"steps": STEPS, "stop": "steps"}
    outputs = {"output": str(folder / f"alone-{number}.png")}
    job = Job("denoise", options, str(picture), outputs, RunOptions(threads=1, report=report))
    (folder / "job.json").write_text(job.to_json(), encoding="utf-8")
    code = "import sys; from benchmarks.studio import fitted; print(fitted(sys.argv[1]))"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(folder / "job.json")], check=True, capture_output=True, encoding="utf-8"
    )
    return float(ran.stdout.splitlines()[-1])


def fitted(path: str) -> float:
    """Seconds of the fit of a job in a file."""
    return float(run_job(Job.from_json(Path(path).read_text(encoding="utf-8"))).report["seconds"])


def main() -> None:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture = noisy(folder)
        rows += [{"what": "ready", "seconds": seconds_until_ready(folder / "ready")} for _ in range(RUNS)]
        studio = Studio(folder / "studio")
        with chromium() as browser:
            studio.start()
            try:
                rows += [
                    {"what": "first paint", "seconds": seconds_to_first_paint(browser, studio)} for _ in range(RUNS)
                ]
                for number in range(TURNS):
                    rows.append({"what": "fit alone", "seconds": alone(picture, folder, number)})
                    seconds, late = watched(browser, studio, picture)
                    rows.append({"what": "fit watched", "seconds": seconds})
                    rows += [{"what": "preview", "seconds": each} for each in late]
            finally:
                studio.close()
    append_rows(TABLE, rows)
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Medians, the slowest, and whether each keeps to its limit."""
    of = {
        what: [float(row["seconds"]) for row in rows if row["what"] == what] for what in {row["what"] for row in rows}
    }
    lines = []
    for what in ("ready", "first paint", "preview"):
        found = of[what]
        lines.append(
            [what, f"{statistics.median(found):.2f} s", f"{max(found):.2f} s", len(found), f"{LIMITS[what]:g} s"]
        )
    watched, alone = (statistics.median(of[what]) for what in ("fit watched", "fit alone"))
    spread = max(of["fit alone"]) / min(of["fit alone"]) - 1
    turns = f"{len(of['fit alone'])}, which vary by {spread:.0%} alone"
    lines.append(["watching, of the fit", f"{watched / alone - 1:.1%}", "", turns, f"{LIMITS['watching']:.0%}"])
    return markdown(["", "median", "worst", "of", "limit"], lines)


if __name__ == "__main__":
    main()
