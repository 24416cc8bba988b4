"""`kill -9` at random moments of `add`: nothing half, nothing lost, nothing doubled."""

import hashlib
import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as edge
from store_shop import draw, finish, open_shop, python, state, write_csv

from polymodal.models.mock import COLOURS

KILLS = 20
MOST_RUNS = 80
"""A fast machine finishes some runs before the kill; those do not count."""
ADD = """
import sys, time
from polymodal.search import writer
from polymodal.search.edge import EdgeStore
from polymodal.models.mock import MockEmbedder
from store_shop import open_shop

writer.COMMIT_ITEMS = 8  # many commits, so that kills hit them

class Slow(MockEmbedder):
    def embed_images(self, batch):
        time.sleep(0.004 * len(batch))
        return super().embed_images(batch)

commit = EdgeStore.commit

def announced(self, *arguments, **options):
    print("ready", flush=True)  # imports and listing take longer than all commits together
    commit(self, *arguments, **options)

EdgeStore.commit = announced
with open_shop(sys.argv[1], Slow()) as shop:
    shop.add([sys.argv[2]], prune=True)
print("done", flush=True)
"""


def table(folder, files, price):
    rows = [
        {"file": f.name, "title": f"{f.stem} saree no {n}", "price": price + n}
        for n, f in enumerate(files)
    ]
    return write_csv(folder / "products.csv", rows)


def require_whole(folder, table_prices):
    """Every item the collection holds is complete, and what it says of itself is true.

    Returns the prices of the items.
    """
    with open_shop(folder, write=False) as shop:
        points = shop._access.reading()._open
        records, more = points.scroll(
            edge.ScrollRequest(limit=10_000, with_payload=True, with_vector=True)
        )
        assert more is None
        for record in records:
            assert {"item", "look", "find", "at"} <= set(record.payload)
            assert np.linalg.norm(record.vector["image"]) == pytest.approx(1, abs=1e-3)
            assert len(record.vector["text"].indices) > 0
        ids = [json.loads(record.payload["item"])["id"] for record in records]
        assert len(ids) == len(set(ids)) == len(shop)
        for item in shop.items():
            assert hashlib.sha256(Path(item.path).read_bytes()).hexdigest() == item.id
            assert item.metadata["title"].startswith(f"{Path(item.path).stem} saree no ")
            assert item.metadata["price"] in table_prices
        return [item.metadata["price"] for item in shop.items()]


@pytest.mark.slow
def test_killed_runs_leave_whole_items_and_are_completed_by_the_next(tmp_path):
    chance = random.Random(20)
    files = [
        draw(tmp_path / "photos" / f"{colour}{n}.png", colour, n)
        for colour in list(COLOURS)[:10]
        for n in range(12)
    ]
    prices = set()
    killed = run = midway = 0
    while killed < KILLS and run < MOST_RUNS:
        run += 1
        price = 1000 * run  # so that every run has all items to update, in place
        prices |= {price + n for n in range(len(files))}
        process = python(ADD, tmp_path / "shop", table(tmp_path / "photos", files, price))
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.communicate()
        killed += process.returncode == -9
        if (tmp_path / "shop" / "collection.json").exists():
            held = require_whole(tmp_path / "shop", prices)
            midway += 0 < sum(each >= price for each in held) < len(files)
    assert killed == KILLS
    assert midway >= 3, "most kills met a run that had written nothing, or all"
    csv = table(tmp_path / "photos", files, 500_000)
    finish(python(ADD, tmp_path / "shop", csv))
    with open_shop(tmp_path / "shop") as shop, open_shop(tmp_path / "fresh") as fresh:
        fresh.add([csv])
        assert len(shop) == len(files)
        assert state(shop) == state(fresh)
        for file in files[::7]:
            (found,) = shop._access.reading().query(None, 1, text=file.stem)
            assert found.item.path == str(file)
        report = shop.add([csv])
        assert (report.added, report.updated, report.skipped) == (0, 0, len(files))
