"""Reading order: rows of a receipt, columns of a page, and boxes of turned pages."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymodal.media.reading_order import levelled, reading_order, turned


def read(pieces):
    """Texts in reading order, rows as lists."""
    order, rows = reading_order([box for _, box in pieces], [text for text, _ in pieces])
    found = {}
    for index, row in zip(order, rows, strict=True):
        found.setdefault(row, []).append(pieces[index][0])
    return [found[row] for row in sorted(found)]


def test_cells_of_a_receipt_stay_in_their_rows():
    pieces = [
        ("9.00", (400, 52, 450, 70)),
        ("Total", (20, 100, 80, 120)),
        ("Book", (20, 50, 120, 70)),
        ("21.90", (390, 97, 450, 117)),
        ("2 x", (250, 49, 280, 69)),
        ("SHOP", (150, 5, 320, 30)),
    ]
    assert read(pieces) == [["SHOP"], ["Book", "2 x", "9.00"], ["Total", "21.90"]]


def test_two_columns_of_running_text_are_read_one_after_the_other():
    left = [(f"left column line {n}", (20, 60 + 30 * n, 300, 80 + 30 * n)) for n in range(6)]
    right = [(f"right column line {n}", (340, 65 + 30 * n, 620, 85 + 30 * n)) for n in range(6)]
    title = [("A title over both of the columns", (20, 10, 620, 40))]
    foot = [("A line under both of the columns", (20, 280, 620, 300))]
    mixed = [piece for pair in zip(right, left, strict=True) for piece in pair]
    texts = [text for row in read([*foot, *mixed, *title]) for text in row]
    expected = [*title, *left, *right, *foot]
    assert texts == [text for text, _ in expected]


def test_a_slightly_tilted_row_is_one_row():
    pieces = [(str(n), (20 + 90 * n, 50 + 5 * n, 90 + 90 * n, 70 + 5 * n)) for n in range(8)]
    assert read(pieces) == [[str(n) for n in range(8)]]


@pytest.mark.parametrize("degrees", [-6.0, 3.0, 8.0])
def test_rows_that_slant_are_rows_once_they_are_levelled(degrees):
    texts = [f"{row}{side}" for row in range(12) for side in "ab"]
    level = [(600.0 * (t[-1] == "b"), 30.0 * int(t[:-1]), 80.0, 20.0) for t in texts]
    slope = math.radians(degrees)
    boxes = []
    for left, top, width, height in level:
        corners = [(left + dx, top + dy) for dx in (0, width) for dy in (0, height)]
        x = [a * math.cos(slope) - b * math.sin(slope) for a, b in corners]
        y = [a * math.sin(slope) + b * math.cos(slope) for a, b in corners]
        boxes.append((min(x), min(y), max(x), max(y)))
    rows = [[f"{row}a", f"{row}b"] for row in range(12)]
    assert read(list(zip(texts, boxes, strict=True))) != rows
    assert read(list(zip(texts, levelled(boxes, (degrees, degrees), 360), strict=True))) == rows
    assert levelled(boxes, (0.0, 0.0), 360) == boxes


def test_rows_of_a_page_seen_from_the_side_are_rows_once_they_are_levelled():
    texts = [f"{row}{side}" for row in range(12) for side in "ab"]
    boxes = []
    for text in texts:
        row, left = int(text[:-1]), 600.0 * (text[-1] == "b")
        slope = math.tan(math.radians(-4 + 8 * (30 * row + 10) / 360))
        top = 30.0 * row + slope * (left - 300)
        boxes.append((left, top, left + 80, top + 20 + 80 * abs(slope)))
    rows = [[f"{row}a", f"{row}b"] for row in range(12)]
    assert read(list(zip(texts, boxes, strict=True))) != rows
    assert read(list(zip(texts, levelled(boxes, (-4.0, 4.0), 360), strict=True))) == rows


def test_nothing_gives_nothing():
    assert reading_order([], []) == ([], [])


sides = st.floats(1, 500)


@given(sides, sides, sides, sides, st.sampled_from([0, 90, 180, 270]))
def test_turning_there_and_back_changes_nothing(left, top, width, height, degrees):
    box = left, top, left + width, top + height
    size = (2000.0, 1000.0)
    there = turned(box, *size, degrees)
    upright = size if degrees in {0, 180} else size[::-1]
    assert turned(there, *upright, (360 - degrees) % 360) == pytest.approx(box)


@given(sides, sides, sides, sides, st.sampled_from([90, 180, 270]))
def test_a_turned_box_is_where_pillow_turns_its_pixels(left, top, width, height, degrees):
    from PIL import Image

    box = tuple(int(v) for v in (left / 5, top / 5, (left + width) / 5 + 1, (top + height) / 5 + 1))
    image = Image.new("1", (240, 220))
    image.paste(1, box)
    rotated = image.rotate(-degrees, expand=True)
    assert rotated.getbbox() == turned(box, 240, 220, degrees)
