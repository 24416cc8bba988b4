"""What docs/search.md says about filters and queries is true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from polymodal.errors import FilterSyntaxError
from polymodal.search.filter_parser import parse
from polymodal.search.filters import describe, to_filter
from polymodal.search.querytext import understand

GUIDE = Path(__file__).parents[2] / "docs" / "search.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def section(title: str) -> str:
    return re.split(r"\n#+ ", TEXT.split(f"# {title}\n", 1)[1], maxsplit=1)[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_filter_blocks_parse() -> None:
    blocks = re.findall(r"```filter\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        parse(block.strip())


def test_conditions_of_the_table_parse() -> None:
    whole = [
        code
        for row in rows(section("Filters"))
        for code in codes(row[0])
        if " " in code and not re.search(r"\b[AB]\b|\.\.\.", code)
    ]
    assert len(whole) >= 10
    for code in whole:
        parse(code)


def test_error_is_shown_as_it_is() -> None:
    shown = re.search(r"```console\n\$ [^\n]*--where '([^']*)'\n(.*?)```", TEXT, re.DOTALL)
    assert shown
    with pytest.raises(FilterSyntaxError) as caught:
        parse(shown.group(1))
    assert f"polymodal: {caught.value}" == shown.group(2).rstrip("\n")


def test_dicts_mean_the_expressions_beside_them() -> None:
    checked = 0
    for row in rows(section("The same as a dict")):
        for written, expression in zip(codes(row[0]), codes(row[1]), strict=True):
            if written.startswith("{"):
                where = written.replace("true", "True").replace("null", "None")
                tree = to_filter(ast.literal_eval(where))
                assert tree is not None
                assert describe(tree) == describe(parse(expression))
                checked += 1
    assert checked >= 8


@pytest.mark.parametrize(
    ("query", "expression"),
    [
        ("saree under 2000 rupees", "price < 2000"),
        ("saree cheaper than 2000", "price < 2000"),
        ("saree no more than 2000", "price <= 2000"),
        ("saree more than 2000", "price > 2000"),
        ("saree no less than 2000", "price >= 2000"),
        ("mug from $20", "price >= 20"),
        ("mug $20 and up", "price >= 20"),
        ("mug between 500 and 1000", "price >= 500 and price <= 1000"),
        ("mug from 500 to 1000", "price >= 500 and price <= 1000"),
        ("mug $500-$1000", "price >= 500 and price <= 1000"),
        ("mug with a rating above 4", "rating > 4"),
    ],
)
def test_words_become_the_filter_of_the_table(query, expression) -> None:
    found = understand(query, {"price": "number", "rating": "number"})
    assert found.filter is not None
    assert describe(found.filter) == expression


def test_examples_that_stay_text_stay_text() -> None:
    fields = {"price": "number"}
    for query in ("more than 3 dogs", "women over 40", "up to 50% off", "photos from 1990"):
        assert f'"{query}"' in TEXT.replace("\n", " ")
        assert understand(query, fields).filter is None
