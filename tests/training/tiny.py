"""Small data sets of every format, and a run on them."""

import io
import json
import tarfile

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 50, 210), "grey": (120,) * 3}


def picture(colour, seed, size=(40, 30)):
    noise = np.random.default_rng(seed).integers(-25, 26, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8))


def jpeg(colour, seed):
    file = io.BytesIO()
    picture(colour, seed).save(file, "JPEG")
    return file.getvalue()


def class_folders(root, each=6, colours=tuple(COLOURS)):
    for colour in colours:
        (root / colour).mkdir(parents=True)
        for seed in range(each):
            (root / colour / f"{seed}.jpg").write_bytes(jpeg(colour, seed))
    return root


def table(root, each=6):
    class_folders(root, each)
    rows = [
        {"image": f"{colour}/{seed}.jpg", "caption": [f"{colour} number {seed}", f"a {colour} one"]}
        for colour in COLOURS
        for seed in range(each)
    ]
    file = root / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def shards(root, each=6):
    root.mkdir()
    for colour in COLOURS:
        with tarfile.open(root / f"{colour}.tar", "w") as tar:
            for seed in range(each):
                caption = f"{colour} number {seed}".encode()
                for suffix, data in (("jpg", jpeg(colour, seed)), ("txt", caption)):
                    entry = tarfile.TarInfo(f"{seed:04d}.{suffix}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
    return root
