"""The table of families in docs/models.md, against the cards, the arithmetic and the tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from polymodal.catalog.choices import choice_of
from polymodal.catalog.hub import known_checkpoints
from polymodal.catalog.shapes import shape_of
from polymodal.catalog.speech import read_speech_models
from polymodal.errors import ModelUnavailable
from polymodal.models.hub_families import BRIDGED, CONTRASTIVE, FAMILIES
from tests.hub.conftest import FAMILIES as TESTED

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
ROW = re.compile(r"^\| .*\(`.+`\) \| `.+` \| (vectors|text) \|", re.MULTILINE)
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if ROW.match(line)
]
NAMES = [row[1].strip("`") for row in ROWS]


def types_of(row: list[str]) -> list[str]:
    (within,) = re.findall(r"\((`.+`)\)", row[0])
    return re.findall(r"`([^`]+)`", within)


def test_every_family_that_is_known_has_a_row() -> None:
    told = {kind for row in ROWS for kind in types_of(row)}
    assert told == set(FAMILIES) - set(BRIDGED) | CONTRASTIVE
    page = PAGE.read_text(encoding="utf-8")  # those that are trained here have no published one
    assert all(f"`{kind}`" in page for kind in BRIDGED)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_row_is_tested_and_its_verbs_are_those_of_the_family(row: list[str]) -> None:
    for kind in types_of(row):
        assert kind.replace("-", "") in {each.replace("-", "") for each in TESTED}
        assert row[2] == ("vectors" if kind in CONTRASTIVE else "text")


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_its_licence_is_that_of_the_card(row: list[str]) -> None:
    card = known_checkpoints()[row[1].strip("`")]
    assert row[2] == card["verbs"]
    assert re.split("; ", row[4])[0] == card["licence"]


def test_whisper_has_a_row_with_its_card_s_licence_and_memory() -> None:
    (line,) = re.findall(r"^\| Whisper .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    _, name, verbs, memory, licence, _ = (each.strip() for each in line.strip("|").split("|"))
    cards = {card.transformers: card for card in read_speech_models()}
    card = cards[name.strip("`")]
    whole, half, eight = (float(each) for each in re.findall(r"\d+\.\d+", memory))
    for size, each in ((4, whole), (2, half), (1, eight)):
        assert each == pytest.approx(size * card.parameters / 1e9, abs=0.06)
    assert (verbs, licence.split(";")[0]) == ("speech", card.licence)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_its_memory_is_what_its_configuration_gives(row: list[str]) -> None:
    told = [float(each) for each in re.findall(r"\d+\.\d+", row[3])]
    name = row[1].strip("`")
    if not told:  # "by its name", only where there is no card to work it out from
        with pytest.raises(ModelUnavailable, match="what memory it takes is not known"):
            choice_of(name)
        return
    choice = choice_of(name)
    for size, each in zip((4, 2), told, strict=False):
        count = shape_of(choice.config, choice.name).parameters
        assert each == pytest.approx(size * count / 1e9, abs=0.06)
