"""Two processes, one of which may see a picture while the other does not, end where one ends."""

import json

import pytest

from tests.hub import tiny
from tests.training import tiny_llava
from tests.training.running import assert_ends_alike, assigned, cli, command, weights

VALUES = ("batch=4", "steps=5", "epochs=9", "precision=float32", "grouped=false")
# As in test_ranks.py: a large eps leaves a step that follows the gradient.
VALUES += ("eps=1.0", 'rates=[["*vision_tower*",null],["*",0.1]]')


def train(root, name, *values):
    """The command's words."""
    words = ["train", "instruct", root / "shapes" / "talk.json", "-q", "-m", root / "whole"]
    return [*words, "-o", root / name, *assigned(*VALUES, *values)]


@pytest.mark.slow
def test_shards_end_where_one_process_does(tmp_path):
    tiny.clip(tmp_path / "clip")
    tiny_llava.llama(tmp_path / "llama")
    tiny_llava.joined(tmp_path / "clip", tmp_path / "llama", tmp_path / "whole")
    talk = tiny_llava.shapes(tmp_path / "shapes", each=2) / "talk.json"
    rows = json.loads(talk.read_text())
    rows += [tiny_llava.conversation(None, ("w" * n, "words"), name=f"{n}") for n in range(1, 13)]
    talk.write_text(json.dumps(rows))
    cli(*train(tmp_path, "one"))
    command(*train(tmp_path, "two", "sharding=shards", "chunks=2"), processes=2)
    assert_ends_alike(*(weights(tmp_path / name) for name in ("whole", "one", "two")))
