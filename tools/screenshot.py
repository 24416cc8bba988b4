"""Make docs/images/demo.png, the README's picture, from the page that `make demo` wrote.

    python tools/screenshot.py [demo-out/index.html]

Needs a `chromium` (or `google-chrome`) on the path; nothing else in the repository does.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
TARGET = REPOSITORY / "docs" / "images" / "demo.png"
WINDOW_PX = (1200, 1420)
WIDTH_PX = 900
COLOURS = 256
"""A dithered palette keeps the file under 300 KB, and the eye does not miss the rest."""


def main() -> None:
    """Take it, and write it small."""
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out/index.html").resolve()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None or not page.exists():
        raise SystemExit("needs a chromium on the path, and the page: run `make demo` first.")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--user-data-dir={folder}/profile", "--disable-background-networking"]
        options += [f"--window-size={WINDOW_PX[0]},{WINDOW_PX[1]}", f"--screenshot={shot}"]
        subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True)
        with Image.open(shot) as opened:
            image = opened.convert("RGB")
    height = round(image.height * WIDTH_PX / image.width)
    small = image.resize((WIDTH_PX, height), Image.Resampling.LANCZOS)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    palette = small.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=2)
    small.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(TARGET, optimize=True)
    print(f"{TARGET}: {TARGET.stat().st_size // 1000} KB", file=sys.stderr)


if __name__ == "__main__":
    main()
