"""The starter fine-tuned on a shop's classes: `python -m recipes.starter.finetune --data DIR`.

What a user does with `polymodal train contrastive clothing/train --classes ... --keep ...`: the
clothing training photographs with descriptions of their ten classes, and 300 photographs of
Flickr8k's training split whose vectors shall stay. Both models are then scored by
`recipes.starter.evaluate` on what neither was fitted to: clothing validation, Flickr8k dev.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from recipes.starter import data, evaluate
from recipes.starter.manifest import WEIGHTS

SHOWN = {
    "clothing_validation_zero_shot_folder_words": "clothing validation, zero-shot, folder names",
    "clothing_validation_zero_shot_natural_words": "the same, natural words",
    "clothing_validation_zero_shot_descriptive_words": "the same, descriptions",
    "flickr8k_dev_text_to_image_r1": "Flickr8k dev, text to image R@1",
    "flickr8k_dev_text_to_image_r10": "text to image R@10",
    "flickr8k_dev_image_to_text_r1": "image to text R@1",
    "flickr8k_dev_image_to_text_r10": "image to text R@10",
}


def fine_tune(root: Path, scratch: Path, out: Path, kept: int) -> None:
    """The command line on the clothing photographs."""
    said = {name: list(dict.fromkeys(words[name] for words in data.CLOTHING_WORDINGS.values()))
            for name in data.DESCRIPTIVE}  # fmt: skip
    classes = scratch / "classes.json"
    classes.write_text(json.dumps(said), encoding="utf-8")
    keep = scratch / "keep"
    keep.mkdir()
    for number, path in enumerate(data.flickr(root, "train").paths[:kept]):
        (keep / f"{number}{path.suffix}").symlink_to(path.resolve())
    command = [sys.executable, "-m", "polymodal", "train", "contrastive"]
    command += [str(root / "clothing" / "train"), "-m", "starter", "-o", str(out)]
    command += ["--classes", str(classes)]
    command += ["--keep", str(keep)] if kept else []
    command += ["--validation", str(root / "clothing" / "validation")]
    subprocess.run(command, check=True)


def scores(folder: Path, root: Path) -> dict[str, float]:
    """Of a model's embedder, by `recipes.starter.evaluate`."""
    embedder = evaluate.Embedder.open(folder)
    temperature = embedder.card["calibration"]["classify_temperature"]
    return evaluate.scores(evaluate.embed(embedder, root), temperature)


def main() -> None:
    """Command line: print the table."""
    parser = argparse.ArgumentParser(description="Fine-tune the starter on clothing, and score it.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="keep the model in this folder")
    parser.add_argument("--kept", type=int, default=300, help="photographs that stay; 0 for none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        out = options.out or scratch / "shop"
        fine_tune(options.data, scratch, out, options.kept)
        before = scores(WEIGHTS / "embedder", options.data)
        after = scores(out / "embedder", options.data)
    print("| per cent | starter | fine-tuned | change |\n| --- | --- | --- | --- |")
    for key, name in SHOWN.items():
        print(f"| {name} | {before[key]} | {after[key]} | {after[key] - before[key]:+.1f} |")


if __name__ == "__main__":
    main()
