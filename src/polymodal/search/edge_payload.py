"""How an item lies in Edge: its payload, and back.

Notable: metadata are one JSON string, which brings back exactly what went in (Edge itself loses
large integers and refuses NaN and names that are not UTF-8); `find` is the view of them that is
filtered by (`edge_filter`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.search import edge_filter
from polymodal.search.store import Found, Item, Place, merge_places

if TYPE_CHECKING:
    import qdrant_edge as edge

    from polymodal.results import Vector

__all__ = [
    "IMAGE",
    "SHOWN",
    "TEXT",
    "WHOLE",
    "clear_intent",
    "floats",
    "path_key",
    "read_intent",
    "to_found",
    "to_item",
    "to_payload",
    "write_intent",
]

IMAGE = "image"
TEXT = "text"
"""Names of the two vectors of a point."""

SHOWN = ("item",)
"""What a hit needs of the payload; `find` and `at` are only searched by."""
WHOLE = (*SHOWN, "look")
"""What makes an item, the vector aside."""
_read_json = json.JSONDecoder().raw_decode
"""As `json.loads`, without its look for white space: every hit is read by it."""
NO_VECTOR = np.zeros(0, np.float32)


def path_key(path: str) -> int:
    """A path as the number that it is indexed by: 63 bits of its digest."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def floats(vector: Vector) -> array[float]:
    """A vector as Edge takes it quickest; a list of Python's floats takes five times as long."""
    return array("f", np.ascontiguousarray(vector, np.float32).tobytes())


def to_payload(item: Item) -> dict[str, Any]:
    """What is stored beside the vectors."""
    places = item.all_places()
    listed = {
        path: {"meta": dict(place.metadata), **({"from": place.origin} if place.origin else {})}
        for path, place in places.items()
    }
    about = {
        "id": item.id,
        "path": item.path,
        "places": listed,
        "bytes": item.bytes,
        "size": [item.width_px, item.height_px],
    }
    return {
        "item": json.dumps(about),
        "look": base64.b64encode(item.look).decode(),
        "at": [path_key(path) for path in places],
        "find": edge_filter.view(merge_places(places)),
    }


def to_item(record: edge.Record) -> Item:
    """The item of a point that was read with its payload."""
    return _to_item(record.payload or {}, record.vector)


def _to_item(payload: dict[str, Any], vectors: Any) -> Item:
    # Both are taken from the point by the caller, once: each access converts them anew.
    about, _ = _read_json(payload["item"])
    places = {
        path: Place(entry["meta"], entry.get("from", "")) for path, entry in about["places"].items()
    }
    look = payload.get("look")
    return Item(
        id=about["id"],
        path=about["path"],
        vector=np.asarray(vectors[IMAGE], np.float32) if vectors else NO_VECTOR,
        metadata=merge_places(places),
        bytes=about["bytes"],
        width_px=about["size"][0],
        height_px=about["size"][1],
        look=base64.b64decode(look) if look else b"",
        places=places,
    )


def to_found(
    point: edge.Record | edge.ScoredPoint,
    score: float,
    vector: Vector | None,
    words: edge.SparseVector | None,
) -> Found:
    """A hit; after keyword search its cosine is computed here, from the vector it came with."""
    stored: Any = point.vector
    item = _to_item(point.payload or {}, stored)
    if words is None:
        cosine = _cosine(score)
        return Found(item, score=cosine, similarity=cosine)
    similarity = _cosine(float(item.vector @ vector)) if vector is not None else None
    held = set(stored[TEXT].indices) if TEXT in stored else set()
    return Found(item, score, similarity, words_match=held.issuperset(words.indices))


def _cosine(value: float) -> float:
    """Without what rounding adds: the product of two unit vectors may come out as 1.0000001."""
    return min(1.0, max(-1.0, value))


def _intent(folder: Path) -> Path:
    return folder / "rewriting.json"


def write_intent(folder: Path, ids: Sequence[str]) -> None:
    """Note which items are about to be replaced in place: the one write that can be torn."""
    with _intent(folder).open("w") as file:
        json.dump(list(ids), file)
        file.flush()
        os.fsync(file.fileno())


def read_intent(folder: Path) -> list[str]:
    """What `write_intent` noted and no `clear_intent` followed; empty when all is well."""
    try:
        ids = json.loads(_intent(folder).read_text())
    except (OSError, ValueError):
        return []  # not there, or cut short itself: then nothing was rewritten yet
    return [str(each) for each in ids]


def clear_intent(folder: Path) -> None:
    """The rewriting is durable."""
    _intent(folder).unlink(missing_ok=True)
