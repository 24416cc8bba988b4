from __future__ import annotations

import pytest

from polymodal.catalog.cards import parse_card
from polymodal.errors import DamagedWeights
from tests.models.weights import CARD


def test_a_card_is_read() -> None:
    card = parse_card(CARD.encode(), "card.toml")
    assert (card.id, card.dimension, card.image_size_px) == ("tiny", 8, 16)
    assert card.templates == ("{}", "a photo of a {}.")
    assert card.calibration["match_scale"] == 10.0
    assert card.prompt == "1"
    assert card.kinds == {}


def test_a_card_can_say_which_names_go_by_their_kinds() -> None:
    card = parse_card((CARD + '[kinds]\nperson = ["man", "woman"]\n').encode(), "card.toml")
    assert card.kinds == {"person": ("man", "woman")}
    for mistake in ('"man"', "[]", "[3]", '[""]'):
        with pytest.raises(DamagedWeights, match=r"card.toml: \[kinds\] person must be a list"):
            parse_card((CARD + f"[kinds]\nperson = {mistake}\n").encode(), "card.toml")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("dimension = 8", "", r"\[space\] has no 'dimension'"),
        ("dimension = 8", 'dimension = "8"', r"\[space\] dimension = '8' is not int"),
        ("squash", "stretch", r"\[space\] crop = 'stretch' is not squash or center or pad"),
        ("[prompts]", "[other]", r"\[prompts\] is missing"),
        ('"{}", ', '"no slot", ', r"\[prompts\] templates must be"),
        ("match_scale = 10", "match_scale = true", "match_scale = True is not float"),
        ("[model]", "[model", "cannot be read"),
    ],
)
def test_a_mistake_names_file_and_key(old: str, new: str, complaint: str) -> None:
    with pytest.raises(DamagedWeights, match=complaint) as caught:
        parse_card(CARD.replace(old, new).encode(), "here/card.toml")
    assert "here/card.toml" in str(caught.value)
