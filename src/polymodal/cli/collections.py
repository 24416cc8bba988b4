"""Commands on all of a collection: add, duplicates, info, export, import, delete, reembed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from polymodal.cli.common import open_suite
from polymodal.cli.found import added_words, print_groups
from polymodal.cli.options import (
    DEFAULT_COLLECTION,
    CollectionName,
    Device,
    Html,
    Json,
    Model,
    Quiet,
    Where,
)
from polymodal.cli.output import Output
from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.search import Collection
    from polymodal.suite import Suite

__all__ = [
    "add",
    "delete",
    "duplicates",
    "export",
    "import_",
    "info",
    "open_for",
    "open_in",
    "reembed",
]


def open_for(
    name: str, model: str, device: str, *, write: bool = False, create: bool = False
) -> Collection:
    """The collection of that name or path; reading does not keep others from writing."""
    return open_in(open_suite(model, device), name, model, write=write, create=create)


def open_in(
    suite: Suite, name: str, model: str, *, write: bool = False, create: bool = False
) -> Collection:
    """The same on a suite that is open; `model` is how the user calls its model."""
    from polymodal.search import open_collection

    return open_collection(
        name,
        suite.embedder,
        create=create,
        write=write,
        model_name=model,
        senses=suite.senses(),
    )


def add(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Pictures, folders, globs, or a CSV/JSONL table."),
    ],
    collection: CollectionName = DEFAULT_COLLECTION,
    metadata: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="CSV or JSONL: a path column, and what to know of each."),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove items whose file is gone.")
    ] = False,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Add pictures to a collection.

    A second run adds only what is new or changed; identity is the content of the file.

    Example: polymodal add photos/ --metadata products.csv -c shop

    With --json the last line is {"added", "updated", "skipped", "failed", "removed", "seconds"}.
    """
    from polymodal.cli.progress import progress

    out = Output(as_json=json, quiet=quiet)
    with (
        open_for(collection, model, device, write=True, create=True) as shop,
        progress(out, "adding") as meter,
    ):
        report = shop.add(paths, metadata=metadata, prune=prune, progress=meter.stage)
    for note in report.notes:
        out.note(f"note: {note}")
    for error in report.errors:
        out.fail(error)
    out.line(report.to_dict())
    out.text(added_words(report))
    out.finish()


def duplicates(
    collection: CollectionName = DEFAULT_COLLECTION,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="COSINE", help="Similarity from which two are the same picture."),
    ] = None,
    html: Html = None,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Group near-duplicate pictures.

    Finds re-encoded, resized and cropped copies; the first of a group is the one to keep.

    With --json a line is a group: {"similarity", "items": [{"id", "path", "score", "metadata"}]}.
    """
    out = Output(as_json=json, quiet=quiet)
    with open_for(collection, model, device) as shop:
        groups = shop.duplicates(threshold)
    print_groups(groups, out)
    if html:
        from polymodal.cli.result_pages import duplicates_page

        duplicates_page(html, groups, out)


def info(
    collection: CollectionName = DEFAULT_COLLECTION,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Show what a collection holds."""
    out = Output(as_json=json, quiet=quiet)
    with open_for(collection, model, device) as shop:
        found = shop.info()
    out.line(found.to_dict())
    fields = ", ".join(f"{name} ({kind})" for name, kind in found.fields.items())
    rows = [
        ["items", str(found.items)],
        ["model", f"{found.space.model}@{found.space.revision}"],
        ["dimension", str(found.space.dimension)],
        ["space", found.space.fingerprint],
        ["fields", fields or "none"],
        ["searched as words", ", ".join(found.text_fields) or "none"],
        ["in the graph", f"{found.indexed} of {found.items}"],
        ["on disk", f"{found.bytes / 1e6:.1f} MB"],
        ["folder", found.path],
    ]
    out.table(["collection", found.name], rows, paths=(1,))


def export(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="FILE.jsonl or FILE.parquet.")
    ],
    collection: CollectionName = DEFAULT_COLLECTION,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Write a collection to JSONL or Parquet.

    Vectors are included. A line holds at least "id", "path" and "metadata".

    With --json prints {"exported", "output"}.
    """
    out = Output(as_json=json, quiet=quiet)
    with open_for(collection, model, device) as shop:
        count = shop.export(output)
    out.line({"exported": count, "output": output})
    out.text(f"{count} items exported to {output}")


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `polymodal export` wrote.")],
    collection: CollectionName = DEFAULT_COLLECTION,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Add what `export` wrote.

    Vectors are taken as they are; no picture is opened.
    """
    out = Output(as_json=json, quiet=quiet)
    with open_for(collection, model, device, write=True, create=True) as shop:
        count = shop.import_(file)
    out.line({"imported": count, "input": file})
    out.text(f"{count} items imported from {file}")


def delete(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Items, by their ids.")
    ] = None,
    where: Where = None,
    collection: CollectionName = DEFAULT_COLLECTION,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Remove items from a collection.

    The pictures themselves stay where they are. An id that the collection does not have fails.

    With --json prints {"deleted"}.
    """
    out = Output(as_json=json, quiet=quiet)
    if bool(ids) == bool(where):
        raise UsageError("say what to delete: ids, or --where EXPR.")
    with open_for(collection, model, device, write=True) as shop:
        known = _known(shop, ids or (), out)
        count = shop.delete(known, where=where) if known or where else 0
    out.line({"deleted": count})
    out.text(f"{count} items deleted")
    out.finish()


def _known(shop: Collection, ids: Sequence[str], out: Output) -> list[str]:
    """Those of `ids` that the collection has; the others are reported."""
    from polymodal.results import ItemError

    whole = [each for each in dict.fromkeys(ids) if re.fullmatch("[0-9a-f]{64}", each)]
    found = {item.id for item in shop.get(whole)}
    for each in dict.fromkeys(ids):
        if each not in found:
            reason = "the collection has no item with this id (whole ids: search --json, export)"
            out.fail(ItemError(each, reason, "UsageError"))
    return [each for each in whole if each in found]


def reembed(
    collection: CollectionName = DEFAULT_COLLECTION,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Drop items whose picture is gone.")
    ] = False,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Move a collection to another model (-m).

    Every picture is embedded anew; the old vectors serve until all the new ones are there.
    """
    from polymodal.cli.progress import progress

    out = Output(as_json=json, quiet=quiet)
    embedder = open_suite(model, device).embedder()
    with (
        open_for(collection, model, device, write=True) as shop,
        progress(out, "embedding anew") as meter,
    ):
        report = shop.reembed(embedder, drop_missing=drop_missing, progress=meter.stage)
    for note in report.notes:
        out.note(f"note: {note}")
    for gone in report.dropped:
        out.line({"input": gone.input, "removed": gone.reason})
        out.text(f"removed: {gone.input}: {gone.reason}")
    for error in report.errors:
        out.fail(error)
    out.line(report.to_dict())
    out.text(f"{collection}: {report.updated} items embedded anew by {model}")
    out.finish()
