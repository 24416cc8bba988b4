"""Everyday things: what a photograph may show instead of the classes it is asked for.

"None of these" is right where something else fits better. The shipped file has the vectors of
common things: the kinds of `zeroshot`, and what pictures show that are of no thing. A class is held
against the few that are closest to the photograph, and the gap is what the card turns into a
probability (cf. Jiang et al., 2024, "Negative label guided OOD detection with pretrained
vision-language models").

`python -m recipes.starter.everyday --data DIR` prints how well the gap and the bare cosine tell
photographs of a given class from others; `--write` makes the shipped file and the card anew.

Shapes: N pictures, K classes, E everyday things, D dimension.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipes.starter import data, evaluate, manifest, metrics, zeroshot

Floats = metrics.Floats
FILE = "everyday.npy"
NEAREST = 5
NOT_THINGS = (
    "grass, lawn, gravel, sand, pebbles, stones, rocks, soil, bricks, brick wall, wood, fabric, "
    "carpet, texture, pattern, leaves, tree, forest, water, clouds, sky, moon, planet, stars, "
    "galaxy, fire, smoke, ice, document, page of text, drawing, diagram, map, logo, coins, "
    "money, x-ray, microscope picture, eye, hand, face, head, street, room, garden, floor, "
    "surface, desert, field, waterfall, fireworks, jewels, key, battery, rope, net, paint, "
    "stain, shadow, abstract picture, close-up, blurred picture"
)
"""Materials, places, the sky, and pictures of other sorts than photographs."""

SCENES = ["cat", "person", "building", "flower", "motorcycle", "cup of coffee", "night sky", "dog"]
PERSON = re.compile(
    r"\b(m[ae]n|wom[ae]n|boys?|girls?|child(ren)?|kids?|bab(y|ies)|toddlers?|people|persons?|"
    r"lad(y|ies)|guys?|players?|crowd|couple|he|she|his|her)\b"
)
DOG = re.compile(r"\b(dogs?|pupp(y|ies))\b")


@dataclass(frozen=True)
class Asked:
    """Photographs and the classes that they are asked for.

    Attributes:
        own_N: the class that each shows; -1 where it shows none of them.
    """

    name: str
    image_ND: Floats
    cosine_NK: Floats
    own_N: NDArray[np.int64]


def words() -> list[str]:
    """All the things, each once."""
    _, kinds, _ = zeroshot.class_texts()
    return list(
        dict.fromkeys([*sorted({word for each in kinds for word in each}), *NOT_THINGS.split(", ")])
    )


def write(folder: Path, embedder: evaluate.Embedder) -> Floats:
    """Write `folder`/everyday.npy, float16, and return it [E, D]."""
    things_ED = embedder.classes(words()).astype(np.float16)
    np.save(folder / FILE, things_ED, allow_pickle=False)
    return things_ED.astype(np.float32)


def nearest(image_ND: Floats, things_ED: Floats, count: int = NEAREST) -> Floats:
    """Mean cosine with the `count` closest things [N]; 0 for none."""
    if not count:
        return np.zeros(len(image_ND), np.float32)
    found: Floats = np.sort(image_ND @ things_ED.T, axis=1)[:, -count:].mean(1)
    return found


def clothing(name: str, image_ND: Floats, labels_N: NDArray[np.int64], class_KD: Floats) -> Asked:
    """Clothes among the ten classes."""
    return Asked(name, image_ND, image_ND @ class_KD.T, labels_N)


def scenes(embedder: evaluate.Embedder, rows: data.Captioned, image_ND: Floats) -> Asked:
    """People, dogs and neither, as all captions of a photograph say it, among `SCENES`."""
    kinds = embedder.card["kinds"]
    cosine = [
        (image_ND @ embedder.classes(list(kinds.get(name, [name]))).T).max(1) for name in SCENES
    ]
    own = np.full(len(image_ND), -2)
    for place, captions in enumerate(rows.captions):
        people = sum(bool(PERSON.search(text.lower())) for text in captions)
        dogs = sum(bool(DOG.search(text.lower())) for text in captions)
        if people == len(captions) and not dogs:
            own[place] = SCENES.index("person")
        elif dogs == len(captions) and not people:
            own[place] = SCENES.index("dog")
        elif not people and not dogs:
            own[place] = -1
    told = own > -2
    return Asked("scenes", image_ND[told], np.stack(cosine, 1)[told], own[told])


def gaps(asked: Asked, near_N: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The best class's cosine less `near_N`, with the own class given, then left out.

    Returns:
        the gaps, and whether the own class was given.
    """
    inside = asked.own_N >= 0
    own_NK = np.arange(asked.cosine_NK.shape[1])[None] == asked.own_N[:, None]
    without_N = np.where(own_NK, -np.inf, asked.cosine_NK).max(1) - near_N
    with_N = (asked.cosine_NK.max(1) - near_N)[inside]
    return np.concatenate([with_N, without_N]), np.arange(len(with_N) + len(without_N)) < len(
        with_N
    )


def balanced(
    each: Iterable[Asked], things_ED: Floats, count: int = NEAREST
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.float64]]:
    """`gaps` of several sets together, each weighing the same: gaps, whether known, weights."""
    found = [gaps(asked, nearest(asked.image_ND, things_ED, count)) for asked in each]
    weights = [np.full(len(known), 1000.0 / len(known)) for _, known in found]
    return (
        np.concatenate([gap for gap, _ in found]),
        np.concatenate([known for _, known in found]),
        np.concatenate(weights),
    )


def table(each: Sequence[Asked], things_ED: Floats) -> None:
    """Areas under the curve by the number of things, 0 being the bare cosine."""
    from sklearn.metrics import roc_auc_score

    print(f"{'nearest':>8} " + " ".join(f"{asked.name:>22}" for asked in each) + f" {'all':>8}")
    for count in (0, 1, 3, NEAREST, 10, 20):
        alone = [gaps(asked, nearest(asked.image_ND, things_ED, count)) for asked in each]
        areas = " ".join(f"{roc_auc_score(known, gap):22.3f}" for gap, known in alone)
        gap, known, weight = balanced(each, things_ED, count)
        print(f"{count:8} {areas} {roc_auc_score(known, gap, sample_weight=weight):8.3f}")


def fit(each: Iterable[Asked], things_ED: Floats) -> tuple[float, float]:
    """Scale and bias with sigmoid(scale * gap + bias) the probability that a given class fits."""
    return metrics.fit_logistic(*balanced(each, things_ED))


def collected(embedder: evaluate.Embedder, root: Path, *, dev: bool) -> list[Asked]:
    """Clothes by three wordings, and scenes; training photographs unless `dev`."""
    labelled = data.clothing(root, "validation" if dev else "train")
    rows = data.flickr(root, "dev" if dev else "train")
    paths = rows.paths if dev else rows.paths[:1000]
    clothes_ND = embedder.images(labelled.paths)
    asked = [
        clothing(
            f"clothing, {name}",
            clothes_ND,
            labelled.labels,
            embedder.classes([wording[c] for c in labelled.classes]),
        )
        for name, wording in data.CLOTHING_WORDINGS.items()
    ]
    some = data.Captioned(paths, rows.captions[: len(paths)])
    return [*asked, scenes(embedder, some, embedder.images(paths))]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Tell what is none of the classes.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="make the file, fit the card anew")
    options = parser.parse_args()
    folder = manifest.WEIGHTS / "embedder"
    embedder = evaluate.Embedder.open(folder)
    if options.write:
        things_ED = write(folder, embedder)
    else:
        things_ED = np.load(folder / FILE, allow_pickle=False).astype(np.float32)
    for split in ("train", "dev"):
        print(split)
        asked = collected(embedder, options.data, dev=split == "dev")
        table(asked, things_ED)
    if options.write:
        from recipes.starter import card, train

        scale, bias = fit(asked, things_ED)
        fitted = embedder.card["calibration"] | {"unknown_scale": scale, "unknown_bias": bias}
        card.write(folder, train.Plan(), fitted, embedder.card["scores"])
        print(f"revision {manifest.write(manifest.WEIGHTS)}", file=sys.stderr)


if __name__ == "__main__":
    main()
