"""Labels and label files: what the user wrote to the noun phrases that go into prompts."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polymodal.errors import UsageError
from polymodal.media.tables import read_rows

__all__ = ["LabelInput", "fill", "noun_phrase", "read_labels", "to_labels"]

LabelInput = Sequence[str] | Mapping[str, str | Sequence[str]] | str | os.PathLike[str]

LABEL_COLUMNS = ("label", "class", "category", "name")
TEXT_COLUMNS = ("descriptions", "description", "text", "texts", "caption", "prompt")
TABLES = {".csv", ".tsv", ".jsonl", ".ndjson"}

PROMPT = re.compile(
    r"^(?:(?:this|here|it) is )?"
    r"(?:(?:an?|the|one|some) )?"
    r"(?:(?:bad|black[- ]and[- ]white|blurry|bright|clean|close-?up|colou?r|cropped|dark|good"
    r"|high[- ]resolution|low[- ]resolution|product|studio|stock) )*"
    r"(?:photo(?:graph)?|picture|image|snapshot|close-?up|shot)s?"
    r"(?: (?:photo(?:graph)?|picture|image|shot))?"
    r" (?:of|showing|with) (?P<what>\S.*)$",
    re.IGNORECASE,
)
ARTICLE = re.compile(r"^(?:an?|the|some) (?=\S)", re.IGNORECASE)
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
PLURAL = re.compile(r"(?:[^su\W]|[^s\W]e)s$", re.IGNORECASE)


def to_labels(labels: LabelInput) -> dict[str, tuple[str, ...]]:
    """Labels in any accepted form to label -> descriptions, in order.

    Args:
        labels: a list of labels; label -> description(s); or the path of a label file.

    Raises:
        UsageError: when there are no labels, one is empty, or one is there twice.
    """
    if isinstance(labels, str | os.PathLike):
        return read_labels(labels)
    if isinstance(labels, Mapping):
        pairs = [(label, _descriptions(label, value)) for label, value in labels.items()]
    else:
        pairs = [(label, (label,)) for label in labels]
    result: dict[str, tuple[str, ...]] = {}
    for label, descriptions in pairs:
        if not isinstance(label, str) or not label.strip():
            raise UsageError(f"label {len(result)} is empty; every label needs a word.")
        if label in result:
            raise UsageError(f"the label {label!r} is there twice.")
        result[label] = descriptions
    if not result:
        raise UsageError("no labels were given; name at least one.")
    return result


def read_labels(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """A label file: TOML or JSON (`label = "description"` or a list of them), or a label a line.

    In a text file, empty lines and lines that start with `#` are skipped. A CSV or JSONL table has
    a column `label` and may have `description`; rows of one label add up.

    Raises:
        UsageError: when it cannot be read or holds no labels.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"no label file at {file}. For labels themselves give a list: labels=[{str(path)!r}, …]"
            " (command line: -l LABEL)."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the label file {file} cannot be read: {error}") from error
    data: Any
    try:
        data = _rows(file) if file.suffix.lower() in TABLES else _parse(file, text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"the label file {file} cannot be parsed: {error}") from error
    if isinstance(data, dict) and isinstance(data.get("labels"), dict | list):
        data = data["labels"]
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        data = _described(file, data)
    if not isinstance(data, dict | list):
        raise UsageError(f"the label file {file} holds neither a table nor a list of labels.")
    try:
        return to_labels(data)
    except UsageError as error:
        raise UsageError(f"the label file {file}: {error}") from error


def noun_phrase(label: str) -> str:
    """What a label names, without markup of code and files, prompt words and article.

    `long_sleeve`, `LongSleeve` and "a photo of a long sleeve" all become "long sleeve".
    """
    text = re.sub(r"\s+", " ", label.replace("_", " ")).strip().rstrip(" .")
    if CAMEL.search(text):
        text = CAMEL.sub(" ", text).lower()
    prompt = PROMPT.match(text)
    if prompt:
        text = prompt["what"]
    text = ARTICLE.sub("", text)
    # A name of several words ("Taj Mahal") and an abbreviation ("TV") keep their capitals.
    return text.lower() if text.istitle() and " " not in text else text


def fill(template: str, phrase: str) -> str:
    """The template with the phrase in its slot, its article made to agree.

    A plural takes no article ("a photo of shoes"), a vowel takes "an".
    """
    before, after = template.split("{}")
    if PLURAL.search(phrase.split(" of ", maxsplit=1)[0]):
        before = re.sub(r"(^| )an? $", r"\1", before)
    if phrase[:1].lower() in "aeio":
        before = re.sub(r"(^| )([Aa]) $", r"\1\2n ", before)
    return f"{before}{phrase}{after}"


def _descriptions(label: Any, value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value) if _is_list(value) else None
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise UsageError(f"the label {label!r} needs a description or a list of them.")
    return texts


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence)


def _rows(file: Path) -> list[dict[str, Any]]:
    """Rows of a table of labels.

    Raises:
        UsageError: when there are none.
    """
    rows = read_rows(file)
    if not rows:
        raise UsageError(f"the label file {file} has no rows below a header such as: label")
    return rows


def _described(file: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Label -> descriptions of rows such as {"label": "saree", "description": "draped silk"}."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    named = {column.lower(): column for column in reversed(columns)}
    label = next((named[name] for name in LABEL_COLUMNS if name in named), None)
    if label is None:
        raise UsageError(
            f"the label file {file} has no column of labels: name it"
            f" {' or '.join(LABEL_COLUMNS)} (found: {', '.join(columns)})."
        )
    told = next((named[name] for name in TEXT_COLUMNS if name in named), label)
    labels: dict[str, list[str]] = {}
    for row in rows:
        name = str(row.get(label, "")).strip()
        value = row.get(told, name)
        labels.setdefault(name, []).extend(map(str, value if isinstance(value, list) else [value]))
    return labels


def _parse(file: Path, text: str) -> Any:
    suffix = file.suffix.lower()
    if suffix == ".toml":
        return tomllib.loads(text)
    if suffix == ".json":
        return json.loads(text)
    if suffix in (".yaml", ".yml"):
        # Read as lines, it would make labels of its markup.
        raise UsageError(f"the label file {file} is YAML: write it as TOML, JSON or CSV.")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
