"""Plain tables: they fit, and a path stays recognisable."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from polymodal.cli.tables import cell_width, fit_columns, shorten_end, shorten_middle

ROWS = [["photos/" + "x" * 90 + "/cat.png", "a long description of the cat " * 4, "0.913"]]


def test_a_table_fits_and_short_cells_stay_whole():
    (heading, row) = fit_columns(["picture", "metadata", "score"], ROWS, width=79, paths=(0,))
    assert sum(map(len, row)) + 4 <= 79
    assert heading == ["picture", "metadata", "score"]
    assert row[2] == "0.913"


def test_a_name_that_is_typed_again_stays_whole():
    row = ["org/" + "x" * 40, "vectors, text", "a licence with a long name", "1.9 GB"]
    (_, fitted) = fit_columns(["name", "does", "licence", "here"], [row], width=79, whole=(0,))
    assert fitted[0] == row[0]
    assert sum(map(len, fitted)) + 6 <= 79


def test_a_path_keeps_its_end():
    (_, row) = fit_columns(["picture", "metadata", "score"], ROWS, width=79, paths=(0,))
    assert row[0].startswith("photos/")
    assert row[0].endswith("/cat.png")
    assert "…" in row[0]


@pytest.mark.parametrize(
    "text", ["साड़ी", "猫の写真", "ＡＢＣ", "e\u0301te\u0301", "日本.png", "plain"]
)
def test_widths_agree_with_rich(text):
    assert cell_width(text) == pytest.approx(cell_len(text), abs=sum(map(is_mark, text)))


def is_mark(character):
    return unicodedata.category(character) in {"Mc", "Mn"}


@given(st.text(max_size=60), st.integers(3, 40))
def test_shortened_text_is_never_wider_than_asked(text, width):
    assert cell_width(shorten_end(text, width)) <= width
    assert cell_width(shorten_middle(text, width)) <= width
    if cell_width(text) <= width:
        assert shorten_end(text, width) == shorten_middle(text, width) == text
