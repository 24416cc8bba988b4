"""The Parquet side of export and import: one row an item, vectors as fixed-size lists of float32.

Notable: pyarrow is imported here and nowhere else, and only when a Parquet file is asked for.
Metadata are a JSON text, since items need not agree on fields or types; the space lies in the
schema's metadata under `polymodal.space`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from polymodal.errors import MissingDependency, UsageError
from polymodal.results import Space
from polymodal.search.store import Item
from polymodal.search.transfer import dump_json, item_of, record_of

__all__ = ["read_parquet", "write_parquet"]

SPACE_KEY = b"polymodal.space"
ROWS_AT_ONCE = 2048
NUMBERS = ("bytes", "width_px", "height_px")


def write_parquet(file: IO[bytes], items: Iterable[Item], space: Space, vectors: bool) -> int:
    """Write the items; returns how many."""
    arrow = _pyarrow()
    from pyarrow import parquet

    fields = [
        arrow.field("id", arrow.string()),
        arrow.field("path", arrow.string()),
        arrow.field("metadata", arrow.string()),
        *(arrow.field(name, arrow.int64()) for name in NUMBERS),
        arrow.field("places", arrow.string()),
        arrow.field("look", arrow.string()),
    ]
    if vectors:
        fields.append(arrow.field("vector", arrow.list_(arrow.float32(), space.dimension)))
    schema = arrow.schema(fields, metadata={SPACE_KEY: json.dumps(space.to_dict()).encode()})
    count = 0
    left = iter(items)
    with parquet.ParquetWriter(file, schema) as writer:
        while batch := list(islice(left, ROWS_AT_ONCE)):
            writer.write_batch(_to_batch(arrow, schema, batch, vectors))
            count += len(batch)
    return count


def _to_batch(arrow: Any, schema: Any, items: list[Item], vectors: bool) -> Any:
    rows = [_row(item) for item in items]
    columns = [
        arrow.array([row[field.name] for row in rows], field.type)
        for field in schema
        if field.name != "vector"
    ]
    if vectors:
        flat = np.concatenate([item.vector for item in items]).astype(np.float32, copy=False)
        columns.append(
            arrow.FixedSizeListArray.from_arrays(arrow.array(flat), len(items[0].vector))
        )
    return arrow.RecordBatch.from_arrays(columns, schema=schema)


def _row(item: Item) -> dict[str, Any]:
    record = record_of(item)
    shown = item.path.encode("utf-8", "replace").decode()
    places = record.get("places")
    if shown != item.path:
        # A name that is not UTF-8 cannot be a text of Parquet: JSON escapes keep it.
        places = {item.path: {"metadata": record["metadata"], "origin": ""}, **(places or {})}
    return {
        "look": None,
        **record,
        "path": shown,
        "metadata": dump_json(record["metadata"]),
        "places": dump_json(places) if places else None,
    }


def read_parquet(source: Path) -> tuple[Space, Iterator[Item]]:
    """The space of an export and its items, read in batches.

    Raises:
        UsageError: the file is not Parquet, or no export with vectors.
    """
    arrow = _pyarrow()
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(source)
        packed = opened.schema_arrow.metadata[SPACE_KEY]
        space = Space.from_dict(json.loads(packed))
    except arrow.ArrowException as error:
        raise UsageError(f"{source.name} is not a Parquet file: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{source.name} was not exported by polymodal") from error
    if "vector" not in opened.schema_arrow.names:
        raise UsageError(
            f"{source.name} was exported without vectors;"
            " export again with vectors, or add the pictures themselves"
        )
    return space, _items(opened, space, source)


def _items(opened: Any, space: Space, source: Path) -> Iterator[Item]:
    number = 0
    try:
        for batch in opened.iter_batches(batch_size=ROWS_AT_ONCE):
            vectors = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
            matrix = vectors.astype(np.float32, copy=False).reshape(batch.num_rows, -1)
            rows = batch.drop_columns(["vector"]).to_pylist()
            for row, vector in zip(rows, matrix, strict=True):
                number += 1
                yield item_of(_record(row), vector.copy(), space)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"row {number} of {source.name} is not an exported item: {error}"
        ) from error
    finally:
        opened.close()


def _record(row: dict[str, Any]) -> dict[str, Any]:
    places = json.loads(row["places"]) if row.get("places") else {}
    path = row["path"]
    exact = next(
        (each for each in places if each.encode("utf-8", "replace").decode() == path), path
    )
    return {**row, "path": exact, "metadata": json.loads(row["metadata"]), "places": places}


def _pyarrow() -> Any:
    try:
        import pyarrow as arrow
    except ImportError as error:
        raise MissingDependency(
            "Parquet files need pyarrow: pip install 'polymodal[parquet]'"
        ) from error
    return arrow
