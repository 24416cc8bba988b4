"""Both data sets as one small file, so that a machine with nothing but torch can train on it.

Notable: easy-VQA goes in as pixels, and the study trains a tower on them. Flickr8k's 6,000
photographs would teach a fresh tower little, so they go in as what the starter's image tower sees:
its 8 x 8 grid, reduced to the principal directions of training photographs and rounded to int8.

Arrays of the file, for each data set: `SET.image` (pixels or grids), `SET.vocabulary`, and for PART
train and test `SET.PART.picture` [n], `SET.PART.words` [n, longest] (0 pads) and `SET.PART.answer`
[n], ids of the vocabulary.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DIRECTIONS = 64
BASIS_PHOTOGRAPHS = 600
BATCH = 8
SPECIAL = ["<pad>", "<answer>", "<unknown>"]  # the second stands where the answer is written
LEAST = 3  # a word of a question that occurs less often is unknown; so is such an answer left out

Asked = tuple[int, str, str]
"""Number of the picture, question, answer."""
Arrays = dict[str, NDArray[np.generic]]


def split_words(text: str) -> list[str]:
    """Lower-case words without the question mark."""
    return text.lower().replace("?", " ").split()


def encode(name: str, asked: dict[str, list[Asked]]) -> Arrays:
    """Questions and answers of a data set as ids of one vocabulary."""
    counts = Counter(word for _, question, _ in asked["train"] for word in split_words(question))
    answers = Counter(answer for _, _, answer in asked["train"])
    kept = {word for word, n in counts.items() if n >= LEAST}
    known = {answer for answer, n in answers.items() if n >= LEAST}
    vocabulary = [*SPECIAL, *sorted(kept | known)]
    ids = {word: i for i, word in enumerate(vocabulary)}
    unknown = ids["<unknown>"]
    longest = max(len(split_words(q)) for part in asked.values() for _, q, _ in part)
    arrays: Arrays = {f"{name}.vocabulary": np.array(vocabulary)}
    for part, rows in asked.items():
        # A test question whose answer training never gave cannot be right; it counts as wrong.
        used = rows if part == "test" else [row for row in rows if row[2] in known]
        words = np.zeros((len(used), longest), np.int16)
        for i, (_, question, _) in enumerate(used):
            row = [ids.get(word, unknown) for word in split_words(question)]
            words[i, : len(row)] = row
        arrays[f"{name}.{part}.words"] = words
        arrays[f"{name}.{part}.picture"] = np.array([row[0] for row in used], np.int16)
        arrays[f"{name}.{part}.answer"] = np.array(
            [ids[row[2]] if row[2] in known else -1 for row in used], np.int16
        )
    return arrays


def easy_vqa() -> Arrays:
    """The package's pictures (64 x 64) and questions; its test split is the test."""
    import easy_vqa as source

    asked: dict[str, list[Asked]] = {}
    pixels: list[NDArray[np.uint8]] = []
    for part, questions, paths in (
        ("train", source.get_train_questions(), source.get_train_image_paths()),
        ("test", source.get_test_questions(), source.get_test_image_paths()),
    ):
        number = {image: len(pixels) + i for i, image in enumerate(sorted(paths))}
        for image in sorted(paths):
            with Image.open(paths[image]) as file:
                pixels.append(np.asarray(file.convert("RGB")))
        rows = zip(*questions, strict=True)
        asked[part] = [(number[image], question, answer) for question, answer, image in rows]
    return {"easy-vqa.image": np.stack(pixels), **encode("easy-vqa", asked)}


def flickr(root: Path) -> Arrays:
    """Questions derived from Flickr8k's captions, and the starter's grids; dev is the test."""
    from recipes.starter import data
    from recipes.starter.questions import derive

    asked: dict[str, list[Asked]] = {}
    paths: list[Path] = []
    for part, split in (("train", "train"), ("test", "dev")):
        captioned = data.flickr(root, split)
        asked[part] = [
            (len(paths) + each.photograph, each.question, each.answer)
            for each in derive(captioned.captions)
        ]
        paths += captioned.paths
    train = len(data.flickr(root, "train").paths)
    return {"flickr8k.image": starter_grids(paths, train), **encode("flickr8k", asked)}


def starter_grids(paths: list[Path], train: int) -> NDArray[np.int8]:
    """The starter's grids [n, 8, 8, DIRECTIONS]; the basis is found on the first `train` alone."""
    import polymodal_starter
    from recipes.starter import captiongrids, data

    weights = Path(polymodal_starter.__file__).parent / "weights" / "embedder" / "image.onnx"
    run = captiongrids.tower([weights], threads=1)

    def seen(part: Iterable[Path]) -> NDArray[np.float32]:
        return run(captiongrids.read(list(part), mirrored=False))

    picked = np.random.default_rng(0).permutation(train)[:BASIS_PHOTOGRAPHS]
    sample = [seen(paths[i] for i in picked[rows]) for rows in data.batches(len(picked), BATCH)]
    places = np.concatenate(sample).reshape(-1, sample[0].shape[2])
    mean = places.mean(0)
    values, vectors = np.linalg.eigh(np.cov(places.T))
    directions = vectors[:, ::-1][:, :DIRECTIONS].astype(np.float32)
    # One step for all directions: where little varies, few steps are used.
    step = 6 * float(np.sqrt(values[-1])) / 127
    out = np.empty((len(paths), 64, DIRECTIONS), np.int8)
    for rows in data.batches(len(paths), BATCH):
        grid = (seen(paths[rows]) - mean) @ directions / step
        out[rows] = np.clip(np.rint(grid), -127, 127)
        if rows.start % 800 == 0:
            print(f"{rows.start} of {len(paths)} photographs", file=sys.stderr, flush=True)
    return out.reshape(len(paths), 8, 8, DIRECTIONS)


def prepare(out: Path, root: Path | None) -> None:
    """Write the file; without `root`, easy-VQA alone."""
    arrays = easy_vqa()
    if root is not None:
        arrays |= flickr(root)
    np.savez_compressed(out, allow_pickle=False, **arrays)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
