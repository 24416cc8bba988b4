"""The probes that `photo-quality` asks: is there a watermark, is there a person?

    python -m recipes.starter.policyprobes --data ../shared/data

Notable: the model was trained on photographs and captions, so words find neither well; a linear
head on its features, shown examples, does. Watermarks are drawn here on photographs of Flickr8k's
training split and on half of the clothing photographs (the half on which the policy's thresholds
are chosen, `benchmarks.moderation --half tune`), each photograph clean and marked. People: every
caption of a training photograph speaks of one, or none does, and that half of the clothing
photographs, which nobody wears. Nothing of the other half or of dev is
seen. What they reach is printed by `benchmarks.moderation`, which draws its marks in another way.
"""

from __future__ import annotations

import argparse
import json
import string
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import polymodal as pm
from benchmarks.moderation import PERSON
from polymodal.media.pictures import open_picture

POLICIES = Path(pm.__file__).parent / "tasks" / "policies"
PHOTOGRAPHS = 2400
PEOPLE = 1500
SIGNS = ("©", "®", "™", "#", "@", "*")


def words(rng: np.random.Generator) -> str:
    """What a mark says: letters at random, as names, addresses and notices look."""
    letters = "".join(rng.choice(list(string.ascii_letters), int(rng.integers(3, 14))))
    kind = int(rng.integers(5))
    if kind == 0:
        return letters.upper()
    if kind == 1:
        return f"{rng.choice(SIGNS)} {letters.title()}"
    if kind == 2:
        return f"www.{letters.lower()}.{rng.choice(['com', 'net', 'shop'])}"
    if kind == 3:
        return f"{letters.title()} {letters[::-1].lower()}"
    return f"{letters.lower()}{int(rng.integers(10, 99))}"


def font_of(rng: np.random.Generator, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """One of the fonts that matplotlib brings."""
    from matplotlib import get_data_path

    files = sorted((Path(get_data_path()) / "fonts" / "ttf").glob("DejaVu*.ttf"))
    files = [file for file in files if "Display" not in file.stem]
    return ImageFont.truetype(str(files[int(rng.integers(len(files)))]), size)


def marked(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A half-transparent mark: one across, one in a corner, or many; sometimes with a line."""
    width, height = image.size
    many, corner = rng.random() < 0.4, rng.random() < 0.25
    share = rng.uniform(0.03, 0.08) if many or corner else rng.uniform(0.06, 0.18)
    size = max(8, int(share * width))
    font, text = font_of(rng, size), words(rng)
    shade = tuple(int(level) for level in rng.choice([255, 230, 128, 60, 0]) * np.ones(3))
    if rng.random() < 0.1:
        shade = tuple(int(level) for level in rng.integers(0, 255, 3))
    ink = (*shade, int(255 * rng.uniform(0.25, 0.8)))
    layer = Image.new("RGBA", (2 * width, 2 * height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    length = max(1.0, pen.textlength(text, font))
    if many:
        down, across = size * rng.uniform(1.6, 5.0), length * rng.uniform(1.05, 2.0)
        shift = rng.uniform(0, across)
        for row in range(int(2 * height / down) + 1):
            for column in range(int(2 * width / across) + 2):
                pen.text((column * across - (row * shift) % across, row * down), text, ink, font)
    else:
        pen.text((width - length / 2, height - size / 2), text, ink, font)
        if rng.random() < 0.2:
            box = (width - 0.6 * length, height - size, width + 0.6 * length, height + size)
            pen.rectangle(box, outline=ink, width=max(1, size // 12))
    turn = 0.0 if corner else rng.uniform(-45, 45)
    layer = layer.rotate(turn, Image.Resampling.BICUBIC)
    left, top = width / 2, height / 2
    if not many:  # anywhere that keeps most of it inside
        left += width * rng.uniform(-0.3, 0.3)
        top += height * rng.uniform(-0.42, 0.42)
    layer = layer.crop((int(left), int(top), int(left) + width, int(top) + height))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def training(data: Path) -> list[tuple[Path, int]]:
    """Photographs of Flickr8k's training split, and how many of five captions name a person."""
    rows = map(json.loads, (data / "flickr8k" / "captions.jsonl").read_text().splitlines())
    return [
        (
            data / "flickr8k" / row["image"],
            sum(bool(PERSON.search(caption.lower())) for caption in row["captions"]),
        )
        for row in rows
        if row["split"] == "train"
    ]


def clothes(data: Path) -> list[Path]:
    """The half of the clothing photographs that `benchmarks.moderation --half tune` draws from."""
    files = sorted((data / "clothing" / "train").glob("*/*"))
    return [files[i] for i in np.random.default_rng(0).permutation(len(files))[0::2]]


def watermark_examples(data: Path) -> dict[str, list[Image.Image]]:
    """Photographs as they were, and marked."""
    rng = np.random.default_rng(7)
    files = clothes(data)
    photographs = [path for path, _ in training(data)]
    files += [photographs[i] for i in rng.permutation(len(photographs))[: PHOTOGRAPHS - len(files)]]
    clean = [open_picture(file).image for file in files]
    for image in clean:
        image.thumbnail((640, 640))
    return {"clean": clean, "watermark": [marked(image, rng) for image in clean]}


def person_examples(data: Path) -> dict[str, list[Path]]:
    """Every caption names a person; none does, or it is a garment that nobody wears."""
    rng = np.random.default_rng(8)
    found = training(data)
    groups = {
        "no person": [path for path, count in found if count == 0],
        "person": [path for path, count in found if count == 5],
    }
    chosen = {
        label: [paths[i] for i in rng.permutation(len(paths))[:PEOPLE]]
        for label, paths in groups.items()
    }
    # Without them garments are people: in photographs of people there are clothes.
    chosen["no person"] += clothes(data)
    return chosen


def main() -> None:
    """Train both and write them beside the policy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=POLICIES)
    parser.add_argument("--only", choices=["watermark", "person"])
    options = parser.parse_args()
    suite = pm.Suite("starter")
    examples = {"watermark": watermark_examples, "person": person_examples}
    for name, of in examples.items():
        if options.only not in (None, name):
            continue
        probe = suite.probe(of(options.data))
        probe.save(options.out / f"{name}.probe")
        report = probe.report
        low, high = report.interval
        print(f"{name}: {report.images}, held out {report.accuracy:.1%} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main()
