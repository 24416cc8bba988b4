"""Pictures, tables and processes for tests of collections."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from polymodal.models.mock import COLOURS, MockEmbedder
from polymodal.search import open_collection

REPOSITORY = Path(__file__).resolve().parents[2]


def draw(path, colour="red", mark=0):
    """A small PNG of one colour with a white mark, different for every (colour, mark)."""
    pixels = np.full((32, 32, 3), COLOURS[colour], np.uint8)
    pixels[mark % 28 : mark % 28 + 4, : 2 + mark // 28 % 30] = 255
    pixels[-1, -1] = mark % 256
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_csv(path, rows):
    """A table with the keys of the first row as its header."""
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Path(path)


def open_shop(folder, embedder=None, *, create=True, write=True):
    """A collection in `folder` with the mock model."""
    model = embedder or MockEmbedder()
    return open_collection(Path(folder), lambda: model, create=create, write=write)


def no_model():
    """An embedder that must not be asked for."""
    raise AssertionError("a model was loaded")


def python(code, *arguments, **options):
    """A child process with this interpreter and its import path."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *(p for p in sys.path if p)]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process, timeout_s=60):
    """Output of a child that must end well."""
    out, err = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, err
    return out


def state(shop):
    """Everything a collection holds, for comparing: id to paths, metadata and vector."""
    return {
        item.id: (
            {path: (dict(place.metadata), place.origin) for path, place in item.places.items()},
            dict(item.metadata),
            np.round(item.vector, 5).tolist(),
            item.bytes,
            (item.width_px, item.height_px),
        )
        for item in shop.items(vectors=True)
    }
