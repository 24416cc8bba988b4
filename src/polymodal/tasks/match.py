"""Match: the probability that a text fits a picture, for one pair or a table of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.errors import MediaError, UsageError
from polymodal.media.pictures import ImageInput, Limits, picture_name
from polymodal.media.tables import path_column, read_rows
from polymodal.results import Match
from polymodal.runtime.pictures import embed_pictures
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.calibration import calibration_of, fits, provenance_of

__all__ = ["match", "read_pairs"]

TEXT_COLUMNS = ("text", "caption", "description", "title", "query", "prompt")


def match(
    texts: TextVectors,
    pairs: Sequence[tuple[ImageInput, str]],
    *,
    limits: Limits,
    threshold: float | None = None,
) -> Iterator[tuple[ImageInput, Match | MediaError]]:
    """Yield `(picture, match)` for each pair, in order.

    Args:
        threshold: probability in 0..1 from which `Match.matches` is True.

    Raises:
        UsageError: for an empty text, named by its position, or a threshold outside 0..1.
    """
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise UsageError(f"the threshold is a probability from 0 to 1, not {threshold}.")
    for position, (_, text) in enumerate(pairs):
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"the text of pair {position} is empty; say what to look for.")
    return _match(texts, pairs, limits, threshold)


def _match(
    texts: TextVectors,
    pairs: Sequence[tuple[ImageInput, str]],
    limits: Limits,
    threshold: float | None,
) -> Iterator[tuple[ImageInput, Match | MediaError]]:
    embedder = texts.embedder
    calibration = calibration_of(embedder)
    provenance = provenance_of(embedder)
    vectors = texts.embed([text for _, text in pairs])
    pictures = embed_pictures(embedder, (image for image, _ in pairs), limits)
    for (source, outcome), (_, text), vector in zip(pictures, pairs, vectors, strict=True):
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


def read_pairs(path: str | Path) -> list[tuple[str, str]]:
    """Pairs of a CSV, JSON or JSONL table: a path column and a text column, found by name.

    A relative picture path counts from the table's folder.

    Raises:
        UsageError: when there is no such column, or a row lacks a value; names the row.
    """
    rows = read_rows(path)
    if not rows:
        raise UsageError(f"{path} has no rows.")
    picture, text = path_column(rows), _text_column(path, rows)
    folder = Path(path).parent
    pairs = []
    for number, row in enumerate(rows, 1):
        for column in (picture, text):
            if not str(row.get(column, "")).strip():
                raise UsageError(f"{path}, row {number}: no value for {column!r}.")
        pairs.append((str(folder / str(row[picture])), str(row[text])))
    return pairs


def _text_column(path: str | Path, rows: Iterable[dict[str, Any]]) -> str:
    present = list(dict.fromkeys(key for row in rows for key in row))
    lowered = {key.lower(): key for key in present}
    for name in TEXT_COLUMNS:
        if name in lowered:
            return lowered[name]
    raise UsageError(
        f"{path} has no text column: it has {', '.join(present)}; name one 'text'"
        f" (or {', '.join(TEXT_COLUMNS[1:])})."
    )
