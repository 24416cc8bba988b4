from __future__ import annotations

import json
from pathlib import Path

import pytest

from polymodal.errors import UsageError
from polymodal.tasks.labels import fill, noun_phrase, read_labels, to_labels


@pytest.mark.parametrize(
    ("label", "phrase"),
    [
        ("saree", "saree"),
        ("a saree", "saree"),
        ("The saree.", "saree"),
        ("a photo of a saree", "saree"),
        ("A photo of a red silk saree.", "red silk saree"),
        ("This is a picture of the Taj Mahal", "Taj Mahal"),
        ("a close-up photo of some shoes", "shoes"),
        ("a black and white photograph of shoes", "shoes"),
        ("an image showing two dogs", "two dogs"),
        ("long_sleeve", "long sleeve"),
        ("longSleeve", "long sleeve"),
        ("LongSleeveShirt", "long sleeve shirt"),
        ("T-shirt", "T-shirt"),
        ("Dress", "dress"),
        ("TV", "TV"),
        ("photo frame", "photo frame"),
        ("a photo", "photo"),
        ("a boy taking a picture of a dog", "boy taking a picture of a dog"),
        ("a photo album of holidays", "photo album of holidays"),
        ("  two   dogs  ", "two dogs"),
        ("साड़ी", "साड़ी"),
    ],
)
def test_a_label_is_reduced_to_what_it_names(label: str, phrase: str) -> None:
    assert noun_phrase(label) == phrase


@pytest.mark.parametrize(
    ("template", "phrase", "prompt"),
    [
        ("a photo of a {}.", "saree", "a photo of a saree."),
        ("a photo of a {}.", "old man", "a photo of an old man."),
        ("a photo of a {}.", "shoes", "a photo of shoes."),
        ("a photo of a {}.", "dress", "a photo of a dress."),
        ("a photo of a {}.", "pants", "a photo of pants."),
        ("a photo of a {}.", "bus", "a photo of a bus."),
        ("a photo of a {}.", "pair of shoes", "a photo of a pair of shoes."),
        ("A {} on a table", "apple", "An apple on a table"),
        ("{}", "shoes", "shoes"),
        ("the {} in a shop", "shoes", "the shoes in a shop"),
    ],
)
def test_the_article_of_a_template_agrees(template: str, phrase: str, prompt: str) -> None:
    assert fill(template, phrase) == prompt


def test_every_form_of_labels_is_accepted() -> None:
    assert to_labels(["a", "b"]) == {"a": ("a",), "b": ("b",)}
    assert to_labels({"a": "one", "b": ["two", "three"]}) == {"a": ("one",), "b": ("two", "three")}


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ([], "no labels"),
        ({}, "no labels"),
        (["a", " "], "label 1 is empty"),
        (["a", "a"], "'a' is there twice"),
        ({"a": []}, "'a' needs a description"),
        ({"a": ["x", ""]}, "'a' needs a description"),
        ({"a": 3}, "'a' needs a description"),
        ("saree", r"labels=\['saree', …\]"),
    ],
)
def test_wrong_labels_are_explained(labels: object, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        to_labels(labels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.toml", 'saree = ["a saree", "draped silk"]\njeans = "blue jeans"'),
        ("l.toml", '[labels]\nsaree = ["a saree", "draped silk"]\njeans = "blue jeans"'),
        ("l.json", json.dumps({"saree": ["a saree", "draped silk"], "jeans": "blue jeans"})),
        ("l.csv", "label,description\nsaree,a saree\nsaree,draped silk\njeans,blue jeans\n"),
        ("l.tsv", "class\ttext\nsaree\ta saree\nsaree\tdraped silk\njeans\tblue jeans\n"),
        (
            "l.jsonl",
            '{"label": "saree", "descriptions": ["a saree", "draped silk"]}\n'
            '{"label": "jeans", "descriptions": "blue jeans"}\n',
        ),
        (
            "l.json",
            '[{"label": "saree", "descriptions": ["a saree", "draped silk"]},'
            ' {"label": "jeans", "description": "x", "descriptions": ["blue jeans"]}]',
        ),
    ],
)
def test_a_label_file_holds_descriptions(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert read_labels(path) == {"saree": ("a saree", "draped silk"), "jeans": ("blue jeans",)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.json", '["saree", "jeans"]'),
        ("l.txt", "# what we sell\nsaree\n\n  jeans \n"),
        ("l.toml", 'labels = ["saree", "jeans"]'),
        ("labels", "\ufeffsaree\njeans"),
        ("l.csv", "label\nsaree\njeans\n"),
    ],
)
def test_a_label_file_may_be_a_plain_list(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert read_labels(path) == {"saree": ("saree",), "jeans": ("jeans",)}


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("l.toml", "saree =", "cannot be parsed"),
        ("l.json", "{", "cannot be parsed"),
        ("l.json", "3", "neither a table nor a list"),
        ("l.json", "[3]", "label 0 is empty"),
        ("l.txt", "\n# nothing\n", "no labels"),
        ("l.csv", "saree,jeans\na,b\n", "no column of labels: .*found: saree, jeans"),
        ("l.csv", "label,text\n", "no rows"),
        ("l.yaml", "saree:\n  - draped silk\n", "is YAML: write it as TOML"),
    ],
)
def test_a_wrong_label_file_is_named(
    tmp_path: Path, name: str, content: str, complaint: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UsageError, match=complaint) as caught:
        read_labels(path)
    assert name in str(caught.value)
