"""Which pictures are called blank: photographs and scans, pages and frames that were made empty.

    python -m benchmarks.blank_pictures --data ../shared/data

Photographs of Flickr8k and of clothes, scanned receipts, scikit-image's sample pictures: none is
blank. The photographs once more, with their contrast taken down towards white, as in fog, and
towards black, as at night. Pages of A4 at 150 dpi, with the noise of a sensor, JPEG and a lamp that
falls off: empty, and with one word, one digit or one full stop of 10 points. Frames of one color
with FFmpeg's `noise` filter, through H.264. And what looking takes.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from benchmarks.tables import conditions, markdown
from polymodal.media.blank import blank_color

FADED = 500
"""Photographs whose contrast is taken down."""
CONTRASTS = (0.5, 0.2, 0.1, 0.05, 0.03)
PAGES = 20
A4_PX, POINT_PX = (1240, 1754), 150 / 72
NOISES = (5, 10, 20, 40)
FRAMES = 25
Row = tuple[str, int, int]


def share(name: str, pictures: Iterable[Image.Image]) -> Row:
    """How many there are, and how many of them are called blank."""
    found = [blank_color(each) is not None for each in pictures]
    return name, len(found), sum(found)


def opened(paths: Iterable[Path]) -> Iterator[Image.Image]:
    """What Pillow opens."""
    for path in paths:
        try:
            yield Image.open(path).convert("RGB")
        except UnidentifiedImageError:
            continue


def folders(data: Path) -> dict[str, list[Path]]:
    """Files that show something."""
    import skimage.data

    samples = Path(skimage.data.__file__).parent
    kinds = {".png", ".jpg", ".tif", ".gif"}
    return {
        "Flickr8k, train and dev": sorted((data / "flickr8k" / "images").glob("*.jpg")),
        "clothes, train and validation": sorted((data / "clothing").glob("*/*/*.jpg")),
        "receipts, SROIE": sorted((data / "sroie" / "img").glob("*.jpg")),
        "scikit-image's samples": sorted(p for p in samples.iterdir() if p.suffix in kinds),
    }


def faded(paths: Iterable[Path], contrast: float, color: str) -> Iterator[Image.Image]:
    """Photographs with that share of their contrast left before a color."""
    for picture in opened(paths):
        yield Image.blend(Image.new("RGB", picture.size, color), picture, contrast)


def pages(text: str) -> Iterator[Image.Image]:
    """Scans with noise, quality and fall of light drawn at random."""
    random = np.random.default_rng(0)
    width, height = A4_PX
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    for _ in range(PAGES):
        noise, fall = random.uniform(0, 8), random.uniform(0, 20)
        paper = random.integers(225, 256) - fall * (x * x + y * y)[..., None] / 2
        picture = Image.fromarray(paper.clip(0, 255).repeat(3, axis=2).astype(np.uint8))
        where = (random.uniform(0.1, 0.8) * width, random.uniform(0.1, 0.9) * height)
        font = ImageFont.load_default(10 * POINT_PX)
        ImageDraw.Draw(picture).text(where, text, (40, 40, 40), font)
        pixels = np.asarray(picture) + random.normal(0, noise, (height, width, 3))
        out = io.BytesIO()
        quality = int(random.integers(30, 96))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=quality)
        yield Image.open(out).convert("RGB")


def frames(color: str, noise: int) -> Iterator[Image.Image]:
    """Frames of 640 x 360 pixels through H.264."""
    graph = av.filter.Graph()
    steps = [graph.add("color", f"c={color}:s=640x360:r=25")]
    if noise:
        steps.append(graph.add("noise", f"alls={noise}:allf=t"))
    steps += [graph.add("format", "yuv420p"), graph.add("buffersink")]
    graph.link_nodes(*steps).configure()
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(FRAMES):
            frame = graph.vpull()
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        for decoded in container.decode(video=0):
            yield decoded.to_image()


def timed(pictures: list[Image.Image]) -> float:
    """Milliseconds a picture, the median."""
    took = []
    for picture in pictures:
        began = time.perf_counter()
        blank_color(picture)
        took.append(1000 * (time.perf_counter() - began))
    return float(np.median(took))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Which pictures are called blank.")
    parser.add_argument("--data", type=Path, required=True)
    data: Path = parser.parse_args().data
    files = folders(data)
    rows = [share(name, opened(paths)) for name, paths in files.items()]
    some = files["Flickr8k, train and dev"][
        :: max(1, len(files["Flickr8k, train and dev"]) // FADED)
    ]
    for color in ("white", "black"):
        for contrast in CONTRASTS:
            name = f"photographs at {100 * contrast:g} % of their contrast, before {color}"
            rows.append(share(name, faded(some, contrast, color)))
    texts = ("7", ".", "Appendix")
    rows += [share(f"pages with {text!r} of 10 points", pages(text)) for text in texts]
    rows.append(share("pages with nothing on them", pages("")))
    rows += [
        share(f"frames of {color}, noise {noise}", frames(color, noise))
        for color in ("black", "0x202020", "white")
        for noise in (0, *NOISES)
    ]
    print(
        markdown(
            ["pictures", "how many", "called blank"], [[n, f"{c:,}", f"{b:,}"] for n, c, b in rows]
        )
    )
    photographs, empty = list(opened(some[:200])), list(pages(""))
    small = [page.resize((256, 362)) for page in empty]
    print(
        f"\nA photograph takes {timed(photographs):.2f} ms, an empty page {timed(empty):.1f} ms"
        f" ({A4_PX[0]} x {A4_PX[1]} pixels) or {timed(small):.1f} ms (256 x 362)."
    )
    print(conditions())


if __name__ == "__main__":
    main()
