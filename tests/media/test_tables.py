"""Metadata tables: types, separators, encodings, and complaints that name the line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from polymodal.errors import UsageError
from polymodal.media.tables import path_column, read_rows


def table(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_csv_columns_have_types(tmp_path: Path) -> None:
    content = (
        "path,price,weight,stock,sku,on_sale,name\n"
        'a.jpg,1999,1.5,3,007,true,"Saree, red"\n'
        "b.jpg,2499.50,2,,12,FALSE,\n"
    )
    assert read_rows(table(tmp_path, content)) == [
        {"path": "a.jpg", "price": 1999.0, "weight": 1.5, "stock": 3, "sku": "007",
         "on_sale": True, "name": "Saree, red"},
        {"path": "b.jpg", "price": 2499.5, "weight": 2.0, "sku": "12", "on_sale": False},
    ]  # fmt: skip


def test_number_columns_may_lack_numbers_and_text_columns_keep_their_words(tmp_path: Path) -> None:
    rows = read_rows(table(tmp_path, "path,price,size\na.jpg,10,38\nb.jpg,N/A,L\nc.jpg,-,n/a\n"))
    assert rows == [
        {"path": "a.jpg", "price": 10, "size": "38"},
        {"path": "b.jpg", "size": "L"},
        {"path": "c.jpg", "size": "n/a"},
    ]


@pytest.mark.parametrize("cell", ["1_000", "1e5", "0x10", "12E4", "1,000", "inf", "+5", "٣", "00"])
def test_cells_that_only_resemble_numbers_stay_text(tmp_path: Path, cell: str) -> None:
    assert read_rows(table(tmp_path, f'path,v\na.jpg,"{cell}"\n'))[0]["v"] == cell


def test_large_integers_stay_exact(tmp_path: Path) -> None:
    rows = read_rows(table(tmp_path, "path,ean,huge\na.jpg,4006381333931,123456789012345678901\n"))
    assert rows == [{"path": "a.jpg", "ean": 4006381333931, "huge": "123456789012345678901"}]


def test_file_names_that_are_numbers_stay_text(tmp_path: Path) -> None:
    assert read_rows(table(tmp_path, "Filename,n\n1001,1\n")) == [{"Filename": "1001", "n": 1}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separator_and_encoding_are_found(tmp_path: Path, delimiter: str, encoding: str) -> None:
    path = tmp_path / "t.csv"
    expected = [
        {"path": "ä.jpg", "note": "a, b; c", "n": 1},
        {"path": "b.jpg", "note": "é", "n": 2},
    ]
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, ["path", "note", "n"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(expected)
    assert read_rows(path) == expected


def test_decimal_commas_do_not_decide_the_separator(tmp_path: Path) -> None:
    rows = read_rows(table(tmp_path, "path;price, rupees\na.jpg;12,50\nb.jpg;13,00\n"))
    assert rows[0] == {"path": "a.jpg", "price, rupees": "12,50"}


def test_single_column_and_blank_lines(tmp_path: Path) -> None:
    assert read_rows(table(tmp_path, "\npath\n\na.jpg\n , \n".replace(" , ", ""))) == [
        {"path": "a.jpg"}
    ]
    assert read_rows(table(tmp_path, "")) == []
    assert read_rows(table(tmp_path, "path,price\n")) == []


def test_json_lines_and_arrays_are_told_by_content(tmp_path: Path) -> None:
    rows = [{"path": "a.jpg", "price": 5, "tags": ["x"], "none": None}, {"path": "b.jpg"}]
    expected = [{"path": "a.jpg", "price": 5, "tags": ["x"]}, {"path": "b.jpg"}]
    lines = "\n".join(map(json.dumps, rows)) + "\n\n"
    for name in ("t.jsonl", "t.json", "t.txt"):
        assert read_rows(table(tmp_path, lines, name)) == expected
        assert read_rows(table(tmp_path, json.dumps(rows, indent=2), name)) == expected
        assert read_rows(table(tmp_path, b"\xef\xbb\xbf" + lines.encode(), name)) == expected


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("t.csv", "path,price\na.jpg,1\nb.jpg,2,3\n", "line 3: has 3 cells, but the header has 2"),
        ("t.csv", "path,price,price\na.jpg,1,2\n", "line 1: .*two columns called 'price'"),
        ("t.csv", "path,,price\na.jpg,1,2\n", "line 1: column 2 of the header has no name"),
        ("t.csv", b"path,n\na.jpg,1\ncaf\xe9.jpg,2\n", "line 3: is not UTF-8"),
        ("t.csv", 'path,n\n"a\nb.jpg",1\nc.jpg,2,3\n', "line 4: has 3 cells"),
        ("t.csv", "path,n\na.jpg," + "x" * 200_000, "line 2: field larger"),
        ("t.jsonl", '{"path": "a"}\n\n{"path": \n', "line 3: is not valid JSON"),
        ("t.jsonl", '{"path": "a"}\n[1]\n', "line 2: is not a JSON object"),
        ("t.jsonl", '{"path": "a", "v": NaN}\n', "line 1: is not valid JSON .NaN"),
        ("t.json", '[\n{"path": "a"},\n{"path": }\n]', "line 3: is not valid JSON"),
        ("t.json", '[{"path": "a"}, 3]', "item 2 of the array is not an object"),
        ("t.json", '"text"', "line 1: does not begin with a JSON object or array"),
        ("t.jsonl", "[" * 100_000, "line 1: is not valid JSON"),
    ],
)
def test_complaints_name_file_and_line(
    tmp_path: Path, name: str, content: str | bytes, complaint: str
) -> None:
    with pytest.raises(UsageError, match=f"{name}, {complaint}"):
        read_rows(table(tmp_path, content, name))


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the table .*none\.csv: no such file"):
        read_rows(tmp_path / "none.csv")


def test_path_column_is_found_by_name() -> None:
    assert path_column([{"price": 1, "image": "a.jpg"}]) == "image"
    assert path_column([{"File": "a.jpg", "image": "b"}]) == "File"
    assert path_column([{"n": 1}, {"image_path": "a.jpg"}]) == "image_path"
    with pytest.raises(UsageError, match=r"no column for the pictures' paths.*found: n, m"):
        path_column([{"n": 1, "m": 2}])
