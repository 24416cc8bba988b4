"""Conversations in LLaVA's format, and what is wrong with them."""

import json
from collections import Counter

import numpy as np
import pytest

from polymodal import UsageError
from polymodal.training.conversations import open_dialogues
from polymodal.training.llava_data import grouped_order
from tests.training import tiny_llava
from tests.training.tiny_llava import conversation

ASK = ("<image>\nwhat", "red")


@pytest.fixture
def root(tmp_path):
    return tiny_llava.shapes(tmp_path / "shapes", each=1)


PICTURE = "red-circle-0.png"


def test_llavas_json_is_read_with_its_pictures_and_turns(root, tmp_path):
    row = conversation(PICTURE, ASK, ("and now", "blue"), system="be short")
    data = tiny_llava.dialogues(tmp_path, row, images=root)
    (item,) = data.items
    assert item.pictures == (root / PICTURE,)
    assert [turn.role for turn in item.turns] == ["system", *["user", "assistant"] * 2]
    assert not data.captions


def test_captions_become_a_picture_and_its_text(root):
    data = open_dialogues(root / "captions.jsonl")
    assert data.captions
    assert [turn.text for turn in data.items[0].turns] == ["<image>", "a red circle"]


def test_a_leading_answer_is_dropped_and_text_alone_is_fine(tmp_path):
    row = conversation(None, ("what", "words"))
    row["conversations"].insert(0, {"from": "gpt", "value": "hello"})
    (item,) = tiny_llava.dialogues(tmp_path, row).items
    assert item.pictures == ()
    assert item.turns[0].text == "what"


@pytest.mark.parametrize(
    ("question", "pictures", "said"),
    [
        ("<image><image>\nwhat", PICTURE, r"2 placeholder\(s\) <image>.* 1 picture"),
        ("what", PICTURE, r"0 placeholder\(s\) <image>.* 1 picture"),
        ("<image> what", None, r"1 placeholder\(s\) <image>.* 0 picture"),
    ],
)
def test_placeholders_and_pictures_must_be_as_many(root, question, pictures, said):
    with pytest.raises(UsageError, match=f"the one has {said}"):
        tiny_llava.dialogues(root, conversation(pictures, (question, "red"), name="the one"))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (conversation("gone.png", ASK), "there is no picture"),
        (conversation(PICTURE, ("<image>\nwhat", " ")), "is empty"),
        ({"id": "x", "conversations": "what"}, "no list"),
        ({"id": "x", "conversations": [{"from": "human", "value": "a"}]}, "do not alternate"),
        ({"id": "x", "conversations": [{"from": "robot", "value": "a"}]}, "from 'robot'"),
    ],
)
def test_what_cannot_be_used_is_left_out_by_name(root, row, why):
    data = tiny_llava.dialogues(root, row, conversation(PICTURE, ASK))
    assert len(data) == 1
    (line,) = data.skipped
    assert line.startswith(f"{row['id']}: ")
    assert why in line
    with pytest.raises(UsageError, match="no usable conversation"):
        tiny_llava.dialogues(root, row)


def test_a_changed_answer_changes_the_fingerprint(root):
    prints = {
        tiny_llava.dialogues(root, conversation(PICTURE, ("<image>", answer))).fingerprint
        for answer in ("red", "blue", "red")
    }
    assert len(prints) == 2


def test_grouped_batches_have_one_kind_and_alike_lengths(tmp_path):
    random = np.random.default_rng(0)
    root = tiny_llava.shapes(tmp_path / "shapes", each=1)
    rows = [
        conversation(PICTURE if n % 3 else None, ("<image>" * bool(n % 3) + " w" * length, "red"))
        for n, length in enumerate(random.integers(1, 200, 400))
    ]
    data = tiny_llava.dialogues(root, *rows)
    order = grouped_order(data, 8, seed=3)
    first = order(0)
    assert sorted(first) == list(range(400))
    assert list(order(0)) == list(first) == list(grouped_order(data, 8, seed=3)(0))
    assert list(order(1)) != list(first)
    batches = [[data.items[n] for n in first[at : at + 8]] for at in range(0, 384, 8)]
    assert all(len({bool(item.pictures) for item in batch}) == 1 for batch in batches)
    lengths = [[item.words for item in batch] for batch in batches]
    padded = sum(8 * max(each) for each in lengths)
    shuffled = [data.items[n].words for n in random.permutation(400)[:384]]
    plain = sum(8 * max(shuffled[at : at + 8]) for at in range(0, 384, 8))
    assert padded < 0.65 * plain
    kinds = Counter(bool(batch[0].pictures) for batch in batches[:10])
    assert len(kinds) == 2, "batches of one kind must not come in a row"


def test_a_table_without_conversations_takes_no_picture_folder(root):
    with pytest.raises(UsageError, match="--images is for conversations"):
        open_dialogues(root / "captions.jsonl", images=root)
    (root / "empty.json").write_text(json.dumps([]))
    with pytest.raises(UsageError):
        open_dialogues(root / "empty.json")
