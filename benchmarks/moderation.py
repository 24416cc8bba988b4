"""How well `photo-quality` judges: accuracy by criterion on photographs spoilt on purpose.

    python -m benchmarks.moderation --data ../shared/data

Photographs are the clothing training split and Flickr8k dev. Blurred, darkened, stamped and heaped
pictures are made here from them, with fixed seeds, so every criterion has pictures that meet it and
pictures that do not. The thresholds of the policy were chosen on the `tune` half of the photographs
(`--half tune`); the table in docs/moderation.md is from the other half.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.metrics import roc_auc_score

import polymodal as pm
from polymodal.media.pictures import open_picture

Picture = Image.Image
PERSON = re.compile(r"\b(man|men|woman|women|boy|girl|boys|girls|person|people|lady|guy|child)\b")
MARKS = ("SAMPLE", "© PhotoStudio", "www.fashionshop.com", "PREVIEW", "stock photo", "shop24")
PER_SET = 80


def blurred(image: Picture, seed: int) -> Picture:
    """A Gaussian blur of 1/250 to 1/80 of the longer side: seen at once, and out of focus."""
    radius = np.random.default_rng(seed).uniform(1 / 250, 1 / 80) * max(image.size)
    return image.filter(ImageFilter.GaussianBlur(radius))


def darkened(image: Picture, seed: int) -> Picture:
    """A tenth to two fifths of the light."""
    share = np.random.default_rng(seed).uniform(0.1, 0.4)
    return image.point(lambda level: int(level * share))


def stamped(image: Picture, seed: int) -> Picture:
    """A half-transparent text over it: once and large, or small and repeated; at any angle."""
    rng = np.random.default_rng(seed)
    width, height = image.size
    words, repeated = str(rng.choice(MARKS)), rng.random() < 0.5
    size = max(9, int((0.05 if repeated else 0.12) * width * rng.uniform(0.8, 1.3)))
    font = ImageFont.load_default(size)
    shade = 255 if rng.random() < 0.6 else 60
    ink = (shade, shade, shade, int(255 * rng.uniform(0.35, 0.7)))
    layer = Image.new("RGBA", (2 * width, 2 * height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    length = pen.textlength(words, font)
    if repeated:
        for top in range(0, 2 * height, int(size * 3.5)):
            for left in range(-(top % 7) * 10, 2 * width, int(length * 1.4)):
                pen.text((left, top), words, font=font, fill=ink)
    else:
        pen.text((width - length / 2, height - size / 2), words, font=font, fill=ink)
    layer = layer.rotate(rng.uniform(-35, 35))
    left, top = width // 2, height // 2
    layer = layer.crop((left, top, left + width, top + height))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def heap(images: Sequence[Picture], seed: int) -> Picture:
    """Many photographs thrown on one another."""
    rng = np.random.default_rng(seed)
    ground = Image.new("RGB", (450, 450), (200, 190, 180))
    for _ in range(25):
        image = images[int(rng.integers(len(images)))]
        side = int(rng.integers(90, 190))
        small = image.resize((side, max(1, side * image.height // image.width)))
        turned = small.convert("RGBA").rotate(rng.uniform(-60, 60), expand=True)
        left, top = (int(value) for value in rng.integers(-60, 380, 2))
        ground.paste(turned, (left, top), turned)
    return ground


def load(data: Path, half: str) -> dict[str, list[Picture]]:
    """Clothing, scenes with people (every caption says so) and scenes without, of one half."""
    rng = np.random.default_rng(0)
    clothes = sorted((data / "clothing" / "train").glob("*/*"))
    rows = map(json.loads, (data / "flickr8k" / "captions.jsonl").read_text().splitlines())
    dev = [row for row in rows if row["split"] == "dev"]
    named = [(data / "flickr8k" / row["image"], row["captions"]) for row in dev]
    said = [(path, sum(bool(PERSON.search(c.lower())) for c in each)) for path, each in named]
    groups = {
        "clothes": clothes,
        "people": [path for path, count in said if count == 5],
        "no people": [path for path, count in said if count == 0],
    }
    first = half == "tune"
    return {
        name: [
            open_picture(paths[i]).image
            for i in rng.permutation(len(paths))[0 if first else 1 :: 2][:PER_SET]
        ]
        for name, paths in groups.items()
    }


def pictures(photos: dict[str, list[Picture]]) -> dict[str, list[Picture]]:
    """Every set that is judged, by name."""
    some = [*photos["clothes"][: PER_SET // 2], *photos["people"][: PER_SET // 2]]

    def spoilt(how: Callable[[Picture, int], Picture]) -> list[Picture]:
        return [how(image, seed) for seed, image in enumerate(some)]

    return {
        **photos,
        "as they were": some,
        "blurred": spoilt(blurred),
        "darkened": spoilt(darkened),
        "stamped": spoilt(stamped),
        "heaps": [heap(some, seed) for seed in range(PER_SET)],
    }


QUESTIONS = {
    "clean product photo": (["clothes"], ["people", "no people", "heaps"]),
    "blurry": (["blurred"], ["as they were", "darkened", "stamped"]),
    "cluttered": (["heaps"], ["clothes"]),
    "worn by a person": (["people"], ["no people", "clothes"]),
    "watermark": (["stamped"], ["as they were"]),
    "too dark": (["darkened"], ["as they were", "blurred"]),
}
"""Criterion to the sets that meet it and the sets that do not."""


def report(policy: pm.Policy, scores: dict[str, dict[str, np.ndarray]]) -> None:
    """Print a row a criterion: caught, false alarms, balanced accuracy, AUC, best threshold."""
    print("| criterion | meets it | does not | caught | false alarms | accuracy | AUC | best at |")
    print("|---|---|---|---|---|---|---|---|")
    for criterion in policy.criteria:
        if criterion.name not in QUESTIONS:
            continue
        yes, no = (
            np.concatenate([scores[name][criterion.name] for name in names])
            for names in QUESTIONS[criterion.name]
        )
        caught = (yes >= criterion.threshold).mean()
        alarms = (no >= criterion.threshold).mean()
        auc = roc_auc_score(np.arange(len(yes) + len(no)) < len(yes), np.concatenate([yes, no]))
        bars = np.linspace(0.02, 0.98, 49)
        best = max(bars, key=lambda bar: (yes >= bar).mean() - (no >= bar).mean())
        meets, does_not = (" + ".join(names) for names in QUESTIONS[criterion.name])
        print(
            f"| {criterion.name} | {meets} | {does_not} | {caught:.0%} | {alarms:.0%} |"
            f" {(caught + 1 - alarms) / 2:.0%} | {auc:.3f} | {best:.2f} |"
        )


def main() -> None:
    """Judge every set and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="starter")
    parser.add_argument("--policy", default="photo-quality")
    parser.add_argument("--half", choices=["tune", "report"], default="report")
    options = parser.parse_args()
    suite = pm.Suite(options.model)
    from polymodal.tasks.policy import open_policy

    policy = open_policy(options.policy)
    scores: dict[str, dict[str, np.ndarray]] = {}
    for name, images in pictures(load(options.data, options.half)).items():
        verdicts = [v for v in suite.moderate(images, policy) if isinstance(v, pm.Verdict)]
        scores[name] = {
            criterion.name: np.array([verdict.scores[criterion.name] for verdict in verdicts])
            for criterion in policy.criteria
        }
    print(f"{suite.embedder().space.describe()}, policy {policy.name}, {options.half} half")
    report(policy, scores)


if __name__ == "__main__":
    main()
