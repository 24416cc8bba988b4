"""Match: the probability that a text fits a picture, for one pair or a table of them.

Notable: a table holds the same picture, and the same text, many times; each is embedded once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.errors import MediaError, UsageError
from polymodal.media.pictures import ImageInput, Limits, picture_name
from polymodal.media.tables import path_column, read_rows
from polymodal.models.protocols import Embedder
from polymodal.results import Match, Vector
from polymodal.runtime.pictures import embed_pictures
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.calibration import calibration_of, fits, provenance_of

__all__ = ["TEXT_COLUMNS", "lacks", "match", "read_pairs", "text_column"]

TEXT_COLUMNS = ("text", "caption", "description", "title", "query", "prompt")


def match(
    texts: TextVectors,
    pairs: Sequence[tuple[ImageInput, str]],
    *,
    limits: Limits,
    threshold: float | None = None,
) -> Iterator[tuple[ImageInput, Match | MediaError | UsageError]]:
    """Yield `(picture, match)` for each pair, in order; a pair that lacks a part fails alone.

    Args:
        threshold: probability in 0..1 from which `Match.matches` is True.

    Raises:
        UsageError: for a threshold outside 0..1.
    """
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise UsageError(f"the threshold is a probability from 0 to 1, not {threshold}.")
    return _match(texts, pairs, limits, threshold)


def _match(
    texts: TextVectors,
    pairs: Sequence[tuple[ImageInput, str]],
    limits: Limits,
    threshold: float | None,
) -> Iterator[tuple[ImageInput, Match | MediaError | UsageError]]:
    embedder = texts.embedder
    calibration = calibration_of(embedder)
    provenance = provenance_of(embedder)
    whole = [pair for pair in pairs if lacks(pair) is None]
    vectors = iter(texts.embed([text for _, text in whole]))
    pictures = _each_once(embedder, [image for image, _ in whole], limits)
    for pair in pairs:
        if (lack := lacks(pair)) is not None:
            yield pair[0], UsageError(lack)
            continue
        (source, outcome), text, vector = next(pictures), pair[1], next(vectors)
        if isinstance(outcome, MediaError):
            yield source, outcome
            continue
        assert not isinstance(outcome, Exception)
        cosine = float(outcome @ vector)
        probability = float(fits(calibration, np.array([cosine]), "match")[0])
        yield (
            source,
            Match(
                input=picture_name(source),
                text=text,
                probability=probability,
                cosine=cosine,
                provenance=provenance,
                matches=None if threshold is None else probability >= threshold,
            ),
        )


def _each_once(
    embedder: Embedder, images: Sequence[ImageInput], limits: Limits
) -> Iterator[tuple[ImageInput, Vector | Exception]]:
    """`embed_pictures` where a picture may come again: it is opened and embedded the first time.

    A vector is kept until the picture has come for the last time.
    """
    names = [os.fspath(each) if isinstance(each, str | Path) else id(each) for each in images]
    left = Counter(names)
    first: dict[str | int, ImageInput] = {}
    for name, image in zip(names, images, strict=True):
        first.setdefault(name, image)
    computed = embed_pictures(embedder, first.values(), limits)
    known: dict[str | int, Vector | Exception] = {}
    for name, image in zip(names, images, strict=True):
        if name not in known:
            known[name] = next(computed)[1]
        yield image, known[name]
        left[name] -= 1
        if not left[name]:
            del known[name]


def lacks(pair: tuple[ImageInput, str]) -> str | None:
    """What a pair cannot be judged without, as a reason; None for a whole pair."""
    image, text = pair
    if isinstance(image, str) and not image:
        return f"no picture is named for the text {text!r}."
    if not isinstance(text, str) or not text.strip():
        return "the text is empty; say what to look for in the picture."
    return None


def read_pairs(path: str | Path, columns: Sequence[str] = TEXT_COLUMNS) -> list[tuple[str, str]]:
    """Pairs of a CSV, JSON or JSONL table: a path column and one of `columns`, found by name.

    A relative picture path counts from the table's folder. What a row lacks is empty in its pair.

    Raises:
        UsageError: when there are no rows, or there is no such column.
    """
    rows = read_rows(path)
    if not rows:
        raise UsageError(f"{path} has no rows below a header such as: image,{columns[0]}")
    picture, text = path_column(rows, str(path)), text_column(path, rows, columns)
    folder = Path(path).parent
    pairs = []
    for row in rows:
        name = str(row.get(picture, "")).strip()
        pairs.append((str(folder / name) if name else "", str(row.get(text, "")).strip()))
    return pairs


def text_column(path: str | Path, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> str:
    """The column that holds the texts, spelt as in the table.

    Raises:
        UsageError: none is called one of `columns`.
    """
    present = list(dict.fromkeys(key for row in rows for key in row))
    lowered = {key.lower(): key for key in present}
    for name in columns:
        if name in lowered:
            return lowered[name]
    raise UsageError(
        f"{path} has no {columns[0]} column: it has {', '.join(present)}; name one"
        f" {columns[0]!r} (or {', '.join(columns[1:])})."
    )
