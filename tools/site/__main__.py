"""`python -m tools.site [--serve]`: generate the pages, build the site with warnings as errors, and check its links."""

from __future__ import annotations

import argparse
import http.server
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from tools.site import links
from tools.site.layout import ROOT, settings
from tools.site.pages import generate

OUT = ROOT / "out"


def build(folder: Path = OUT) -> int:
    """Write the site to folder/site; the exit code: 1 if there was a warning or a broken link."""
    source, site = folder / "site-source", folder / "site"
    for old in (source, site):
        shutil.rmtree(old, ignore_errors=True)
    generate(source)
    config = folder / "mkdocs.yml"  # JSON is YAML
    config.write_text(json.dumps(settings(source, site), indent=2), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", str(config)]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    warnings = [
        line for line in said.splitlines() if re.match(r"(griffe|mkdocstrings|autorefs)\b|warning", line, re.IGNORECASE)
    ]
    if done.returncode or warnings:
        print(said, file=sys.stderr)
        return 1
    load_from_here(site)
    found = links.check(site)
    (folder / "external-links.txt").write_text("\n".join(found.external) + "\n", encoding="utf-8")
    print(
        f"{site / 'index.html'}: {found.pages} pages, {found.internal} internal links, {len(found.broken)} broken; ",
        end="",
    )
    print(f"{len(found.external)} external ones in {folder / 'external-links.txt'} (not fetched)")
    for line in found.broken:
        print(line, file=sys.stderr)
    return 1 if found.broken else 0


def load_from_here(site: Path) -> None:
    """Without a server search needs a worker in a frame: of docs/assets, not of unpkg.com, so that it needs no network either."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        up = "../" * (len(page.relative_to(site).parts) - 1)
        text = text.replace("https://unpkg.com/iframe-worker/shim", f"{up or './'}assets/iframe-worker.js")
        page.write_text(text, encoding="utf-8")


def main() -> int:
    """Build, and with --serve show it at http://127.0.0.1:8000."""
    parser = argparse.ArgumentParser("python -m tools.site", description=__doc__)
    parser.add_argument("--output", type=Path, default=OUT, help="folder of the site (default: out)")
    parser.add_argument("--serve", action="store_true", help="show it at http://127.0.0.1:8000 afterwards")
    given = parser.parse_args()
    code = build(given.output.absolute())
    if given.serve and not code:
        handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(given.output / "site"))
        http.server.ThreadingHTTPServer(("127.0.0.1", 8000), handler).serve_forever()
    return code


if __name__ == "__main__":
    sys.exit(main())
