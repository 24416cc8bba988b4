"""Which cosine separates copies of a picture from other pictures: precision and recall.

    python -m benchmarks.duplicates_threshold --images DIR... [--count 500] [--others 1000]

Copies of `--count` photographs are made as the web makes them (re-encoded, made smaller, cropped,
brightened) and put into one pool with `--others` photographs that are none of theirs, plus the
photographs of scikit-image where it is installed. Then `polymodal.search.duplicates.group` runs
on the pool, for each kind of copy and each threshold:

- recall: copies that are in a group with their original;
- precision: pictures in a group that are the same photograph as the one that represents it.

Photographs of one series (the same race, the same dog a second later) are different photographs
here and count as mistakes.
"""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from benchmarks.tables import conditions, markdown
from polymodal.media.pictures import open_picture
from polymodal.models.protocols import Embedder, Pixels
from polymodal.results import Vector
from polymodal.runtime.batches import pipelined
from polymodal.search.duplicates import DEFAULT_THRESHOLD, group
from polymodal.search.looks import look_of, looks_to_vectors

THRESHOLDS = (0.80, 0.84, 0.86, 0.88, 0.90, 0.92, 0.94, 0.96)
SKIMAGE_PHOTOGRAPHS = ("astronaut", "cat", "chelsea", "coffee", "hubble_deep_field", "rocket")


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The picture as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def reencoded(quality: int) -> Callable[[Image.Image], bytes]:
    """A copy that only JPEG changed."""
    return lambda image: jpeg(image, quality)


def resized(share: float, quality: int = 90) -> Callable[[Image.Image], bytes]:
    """A smaller copy."""

    def make(image: Image.Image) -> bytes:
        size = (max(1, int(image.width * share)), max(1, int(image.height * share)))
        return jpeg(image.resize(size, Image.Resampling.LANCZOS), quality)

    return make


def cropped(share: float) -> Callable[[Image.Image], bytes]:
    """A copy that lacks `share` of each side's length, off-centre."""

    def make(image: Image.Image) -> bytes:
        cut = round(image.width * share), round(image.height * share)
        left, top = cut[0] // 4, cut[1] * 3 // 4
        box = (left, top, image.width - cut[0] + left, image.height - cut[1] + top)
        return jpeg(image.crop(box), 90)

    return make


def brightened(factor: float) -> Callable[[Image.Image], bytes]:
    """A brighter or darker copy."""
    return lambda image: jpeg(ImageEnhance.Brightness(image).enhance(factor), 90)


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG quality 90": reencoded(90),
    "JPEG quality 70": reencoded(70),
    "JPEG quality 50": reencoded(50),
    "JPEG quality 30": reencoded(30),
    "resized to 75 %": resized(0.75),
    "resized to 50 %": resized(0.5),
    "resized to 25 %": resized(0.25),
    "resized to 50 %, JPEG 50": resized(0.5, 50),
    "cropped by 5 %": cropped(0.05),
    "cropped by 10 %": cropped(0.1),
    "cropped by 20 %": cropped(0.2),
    "brighter by 20 %": brightened(1.2),
}


def photographs(folder: Path, count: int) -> list[bytes]:
    """Files of a folder, the same choice every time, as bytes."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    chosen = random.Random(0).sample(files, min(count, len(files)))
    return [path.read_bytes() for path in chosen]


def skimage_photographs() -> Iterator[bytes]:
    """Photographs that scikit-image ships in its package."""
    try:
        from skimage import data
    except ImportError:
        return
    for name in SKIMAGE_PHOTOGRAPHS:
        try:
            yield jpeg(Image.fromarray(getattr(data, name)()), 95)
        except Exception:  # one that this version would have to download
            continue


@dataclass(frozen=True)
class Pictures:
    """Vectors and thumbnails, as a collection keeps them; a row each."""

    vectors: Vector
    looks: Vector

    def __len__(self) -> int:
        return len(self.vectors)


def embed(embedder: Embedder, files: Sequence[bytes]) -> Pictures:
    """Picture files as `Collection.add` sees them."""

    def prepare(content: bytes) -> tuple[Pixels, bytes]:
        picture = open_picture(content, target_px=embedder.image_size_px)
        return embedder.preprocess(picture.image), look_of(picture.image)

    def infer(batch: Sequence[tuple[Pixels, bytes]]) -> list[tuple[Vector, bytes]]:
        vectors = embedder.embed_images([pixels for pixels, _ in batch])
        return [(vector, look) for vector, (_, look) in zip(vectors, batch, strict=True)]

    rows = []
    for _, outcome in pipelined(files, prepare, infer):
        if isinstance(outcome, Exception):
            raise outcome
        rows.append(outcome)
    return Pictures(
        np.stack([vector for vector, _ in rows]), looks_to_vectors([look for _, look in rows])
    )


def judge(
    originals: Pictures, copies: Pictures, threshold: float, *, looks: bool
) -> tuple[float, float]:
    """Precision and recall of the groups of a pool; copy i is of original i."""
    sources = np.concatenate([np.arange(len(originals)), np.arange(len(copies))])
    vectors = np.concatenate([originals.vectors, copies.vectors])
    thumbnails = np.concatenate([originals.looks, copies.looks]) if looks else None
    members = right = found = 0
    for rows in group(vectors, threshold, thumbnails):
        same = sources[rows[1:]] == sources[rows[0]]
        members += len(same)
        right += int(same.sum())
        placed = {int(sources[row]) for row in rows if row < len(originals)}
        found += sum(int(sources[row]) in placed for row in rows if row >= len(originals))
    return right / members if members else 1.0, found / len(copies)


def table(originals: Pictures, made: dict[str, Pictures]) -> str:
    """Recall by kind of copy, and precision, for every threshold."""
    results = {
        (name, threshold, looks): judge(originals, copies, threshold, looks=looks)
        for name, copies in made.items()
        for threshold in THRESHOLDS
        for looks in (True, False)
    }

    def percents(which: int, name: str, looks: bool) -> list[str]:
        names = [name] if name in made else list(made)
        return [
            f"{100 * np.mean([results[each, t, looks][which] for each in names]):.1f}"
            for t in THRESHOLDS
        ]

    rows = [[f"recall, {name}", *percents(1, name, True)] for name in made]
    for looks, how in ((True, ""), (False, ", embedding alone")):
        rows.append([f"**recall, all copies{how}**", *percents(1, "", looks)])
        rows.append([f"**precision{how}**", *percents(0, "", looks)])
    alone = [
        sum(len(rows) - 1 for rows in group(originals.vectors, t, originals.looks))
        for t in THRESHOLDS
    ]
    rows.append([f"grouped of {len(originals)} that are no copies", *map(str, alone)])
    return markdown(["percent", *(f"{threshold:.2f}" for threshold in THRESHOLDS)], rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, nargs="+", help="folders")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--others", type=int, default=1000)
    arguments = parser.parse_args()
    from polymodal import Suite

    embedder = Suite().embedder()
    others = arguments.others // len(arguments.images)
    folders = [photographs(folder, others) for folder in arguments.images]
    # In turns, so that the pictures that are copied come from every folder.
    files = [
        *skimage_photographs(),
        *(each for turn in zip(*folders, strict=False) for each in turn),
    ]
    originals = embed(embedder, files)
    copied = [
        Image.open(io.BytesIO(content)).convert("RGB") for content in files[: arguments.count]
    ]
    made = {
        name: embed(embedder, [make(image) for image in copied]) for name, make in COPIES.items()
    }
    print(table(originals, made))
    print(
        f"\nBy threshold; the default is {DEFAULT_THRESHOLD}. {len(originals)}"
        f" photographs, {len(copied)} copied; {embedder.space.describe()};"
        f" {conditions('onnxruntime')}"
    )


if __name__ == "__main__":
    main()
