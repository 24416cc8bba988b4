"""A whole run on two processes ends where the run of one ends, in copies and in shards."""

import pytest

from tests.hub.tiny import clip
from tests.training import tiny
from tests.training.running import assert_ends_alike, assigned, command, weights

VALUES = ("batch=8", "steps=4", "epochs=9", "warmup=2", "save_every=2")
# AdamW divides by the gradient's size, which makes rounding where it is zero as large as the rest;
# a large eps leaves a step that follows the gradient.
VALUES += ("eps=1.0", 'rates=[["*",0.1]]')


def train(folder, checkpoint, data, processes, *values):
    words = ["train", "contrastive", data, "-m", checkpoint, "-o", folder, "-q"]
    command(*words, *assigned(*VALUES, *values), processes=processes)
    return weights(folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    root = tmp_path_factory.mktemp("ranks")
    data, checkpoint = tiny.table(root / "data"), clip(root / "clip")
    return data, checkpoint, train(root / "one", checkpoint, data, 1)


@pytest.mark.parametrize("sharding", ["copies", "shards"])
def test_two_processes_end_where_one_does(alone, tmp_path, sharding):
    data, checkpoint, wanted = alone
    found = train(tmp_path / "two", checkpoint, data, 2, f"sharding={sharding}", "chunks=2")
    assert_ends_alike(weights(checkpoint), wanted, found)
