"""Make the images of the documentation: timeline, page and index of generated clips, by the demo model.

    python benchmarks/doc_images.py [docs/]

Needs Chromium and playwright. Prints the size of each image file.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from avvp.pipeline.cli.main import avvp
from measure.options import make_parser
from PIL import Image
from playwright.sync_api import sync_playwright

CLIP = "s2113200000"  # the clip of `make demo`
WIDTH = 1100
IMAGES = ("timeline.png", "page.png", "index.png")
WINDOW = (1366, 680)
PLAYED = "document.querySelector('video').currentTime = 6.3"  # in the middle of the clip
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_DOCS = Path(__file__).resolve().parents[1] / "docs"


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=_DOCS)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder = work if options.smoke else options.folder
        parse_generated_clip(work, seconds=1 if options.smoke else 10)
        parse_folder(work / "folder", clips=1 if options.smoke else 9, seconds=1 if options.smoke else 10)
        take_screenshot(work / "report.html", work / "page.png", PLAYED)
        take_screenshot(work / "folder" / "site" / "index.html", work / "index.png")
        for name in IMAGES:
            shrink(work / name, folder / name)
            print(f"{folder / name}: {(folder / name).stat().st_size / 1024:.0f} KiB")


def parse_generated_clip(work: Path, *, seconds: int) -> None:
    """Write timeline.png and report.html of a generated clip to a folder."""
    run_avvp("synth", work, "--clips", 1, "--seed", 2113, "--shares", "0,0,100", "--seconds", seconds, "-q")
    inputs = (work / "videos" / f"{CLIP}.mp4", "--weights", "demo", "--annotations", work / "annotations")
    outputs = ("-o", work / "events.json", "--plot", work / "timeline.png", "--html", work / "report.html")
    run_avvp("parse", *inputs, *outputs, "-q")


def parse_folder(work: Path, *, clips: int, seconds: int) -> None:
    """Write the site of a folder of generated clips to site/."""
    run_avvp("synth", work, "--clips", clips, "--seed", 7, "--shares", "0,0,100", "--seconds", seconds, "-q")
    run_avvp("parse", work / "videos", "--weights", "demo", "--output-dir", work / "events", "-q")
    run_avvp("report", work / "events", "--media", work / "videos", "--output-dir", work / "site", "-q")


def run_avvp(*arguments: object) -> None:
    """Run the command line in this process; exit with its status if it fails."""
    status = avvp.main([str(argument) for argument in arguments], prog_name="avvp", standalone_mode=False)
    if status:
        sys.exit(status)


def take_screenshot(page: Path, image: Path, action: str = "") -> None:
    """Save the page as it looks after a script."""
    with sync_playwright() as playwright:
        program = next(filter(None, map(shutil.which, CHROMIUM)), None)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]})
        opened.goto(page.as_uri())
        opened.wait_for_timeout(500)
        if action:
            opened.evaluate(action)
        opened.wait_for_timeout(1000)
        opened.screenshot(path=image)
        browser.close()


def shrink(source: Path, target: Path) -> None:
    """Scale an image to `WIDTH` and 256 colours: small enough for a repository."""
    with Image.open(source) as image:
        height = round(image.height * WIDTH / image.width)
        small = image.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(target, optimize=True)


if __name__ == "__main__":
    main()
