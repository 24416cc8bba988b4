"""How hits, groups and reports of a collection are printed, in JSON and for a person."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polymodal.cli.output import Output

if TYPE_CHECKING:
    from polymodal.results import AddReport, DuplicateGroup, Hit, SearchResult

__all__ = [
    "added_words",
    "hit_values",
    "metadata_words",
    "print_groups",
    "print_result",
    "shown_path",
]

TITLES = ("title", "name")
WELL_KNOWN = (*TITLES, "price", "category", "colour", "color", "size", "brand")
"""Metadata that a row of results shows first; titles stand for themselves."""


def print_result(result: SearchResult, out: Output, *, several: bool = False) -> None:
    """The hits of one query, best first."""
    made_by = result.ranked_by
    hits = [_scored(hit, made_by.model if made_by else "") for hit in result.hits]
    if several:
        out.line({"query": result.query, "results": hits})
        out.text(f"{result.query}:")
    else:
        for hit in hits:
            out.line(hit)
    for note in result.notes:
        out.remark(f"note: {note}")
    # A fused score says which is better, the cosine how alike; where they are one, one is shown.
    fused = any(hit.similarity is not None and hit.similarity != hit.score for hit in result.hits)
    rows = [
        [
            str(rank),
            f"{hit.score:.3f}",
            *([cosine_words(hit)] if fused else []),
            shown_path(hit.path),
            metadata_words(hit.metadata),
        ]
        for rank, hit in enumerate(result.hits, 1)
    ]
    columns = ["", "score", *(["cosine"] if fused else []), "picture", "metadata"]
    numbers = range(3 if fused else 2)
    out.table(columns, rows, paths=(len(numbers),), numbers=tuple(numbers))
    if not rows:
        out.text("nothing found.")


def cosine_words(hit: Hit) -> str:
    """The cosine of a hit; empty where only words were compared."""
    return "" if hit.similarity is None else f"{hit.similarity:.3f}"


def added_words(report: AddReport) -> str:
    """What `add` did, in one line."""
    counts = {
        "added": report.added,
        "updated": report.updated,
        "already there": report.skipped,
        "removed": report.removed,
        "failed": report.failed,
    }
    told = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    return f"{told or 'nothing to add'} in {report.seconds:.1f} s"


def print_groups(groups: Sequence[DuplicateGroup], out: Output) -> None:
    """Near-duplicates: a group a JSON line, or a picture a row."""
    rows = []
    for number, group in enumerate(groups, 1):
        items = [hit_values(hit) for hit in group.hits]
        out.line({"similarity": group.similarity, "items": items})
        for position, hit in enumerate(group.hits):
            role = "keep" if position == 0 else "copy"
            rows.append([str(number), role, f"{hit.score:.3f}", shown_path(hit.path)])
    out.table(["group", "", "similarity", "picture"], rows, paths=(3,), numbers=(0, 2))
    if not groups:
        out.text("no duplicates.")


def _scored(hit: Hit, ranked_by: str) -> dict[str, Any]:
    """A hit of a search: the cosine stands beside the score, which may be of fused ranks.

    Args:
        ranked_by: the model that ordered hits anew, or "".
    """
    values = hit_values(hit)
    if hit.similarity is not None:
        values["cosine"] = hit.similarity
    if hit.first_score is not None:
        values |= {"first_score": hit.first_score, "ranked_by": ranked_by}
    return values


def hit_values(hit: Hit) -> dict[str, Any]:
    """A hit as JSON output gives it."""
    return {"id": hit.id, "path": hit.path, "score": hit.score, "metadata": dict(hit.metadata)}


def shown_path(path: str) -> str:
    """As short as it can be named from here; JSON keeps the whole path."""
    here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 - the string, unresolved
    return path.removeprefix(here)


def metadata_words(metadata: Mapping[str, Any]) -> str:
    """The metadata in one line, what people look for first."""
    known = [key for name in WELL_KNOWN for key in metadata if key.lower() == name]
    order = [*known, *(key for key in metadata if key not in known)]
    return " · ".join(
        str(metadata[key]) if key.lower() in TITLES else f"{key} {metadata[key]}" for key in order
    )
