"""The pictures of the documentation: the timeline and the page of the demo's clip, made by the demo model.

python benchmarks/pictures.py [docs/]

Needs Chromium and playwright.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

CLIP = "s2113200000"  # what `make demo` parses
WIDTH = 1000


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        program = str(Path(sys.executable).with_name("avvp"))
        subprocess.run(
            [program, "synth", work, "--clips", "1", "--seed", "2113", "--shares", "0,0,100", "-q"], check=True
        )
        options = ["--weights", "demo", "--annotations", work / "annotations", "-o", work / "events.json", "-q"]
        pictures = ["--plot", work / "timeline.png", "--html", work / "report.html"]
        subprocess.run([program, "parse", work / "videos" / f"{CLIP}.mp4", *options, *pictures], check=True)
        take_screenshot(work / "report.html", work / "page.png")
        for picture in ("timeline.png", "page.png"):
            shrink(work / picture, folder / picture)


def take_screenshot(page: Path, picture: Path) -> None:
    """The page in the middle of the clip."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1200, "height": 940})
        opened.goto(page.as_uri())
        opened.evaluate("document.querySelector('video').currentTime = 6.3")
        opened.wait_for_timeout(1000)
        opened.screenshot(path=picture)
        browser.close()


def shrink(source: Path, target: Path) -> None:
    """Small enough for a repository: `WIDTH` across, 256 colours."""
    with Image.open(source) as picture:
        small = picture.convert("RGB").resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.LANCZOS)
        small.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "docs")
