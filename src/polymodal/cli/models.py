"""What models there are, their weights on this machine, and what is in memory now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.loading import noticed
from polymodal.cli.options import AllowPickle, Json, Quiet
from polymodal.cli.output import Output

if TYPE_CHECKING:
    from polymodal.catalog.known import KnownModel
    from polymodal.runtime.processes import HeldBy

__all__ = [
    "models_list",
    "models_path",
    "models_ps",
    "models_pull",
    "models_rm",
    "models_show",
    "models_unload",
]

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A model's name, folder or hub id, as -m takes it.")
]


def models_list(
    family: Annotated[
        str, typer.Option(metavar="NAME", help="Only these; of open_clip, all that it knows.")
    ] = "",
    here: Annotated[
        bool, typer.Option("--here", help="Only those whose weights are on this machine.")
    ] = False,
    json: Json = False,
) -> None:
    """List the models that are known by name.

    Those in the hub's cache are among them. Other checkpoints of the families in docs/models.md
    work too, by folder or hub id.

    Example: polymodal models list --family open_clip

    With --json a line is {"name", "does", "family", "licence", "folder", "size_bytes"} and what
    else is known of the model.
    """
    from polymodal.catalog.known import known_models

    out = Output(as_json=json)
    rows = known_models(here=here, family=family)
    for row in rows:
        out.line(row.to_dict())
    out.table(
        ["name", "does", "licence", "here"],
        [[row.name, row.does, row.licence, _here(row)] for row in rows],
        whole=(0, 1),
        numbers=(3,),
    )


def models_show(name: Name, json: Json = False) -> None:
    """Show what is known of a model: its card, its files, its price.

    With --json a line is the model, as `list` gives it.
    """
    from polymodal.catalog.known import show

    out = Output(as_json=json)
    model = show(name)
    values = model.to_dict()
    out.line(values)
    size_bytes = values.pop("size_bytes")
    name = values.pop("name")
    on_disk = None if size_bytes is None else size(size_bytes)
    _tell(out, {"name": name, "on disk": on_disk, **values}, 0)


def models_path(name: Name, json: Json = False) -> None:
    """Print the folder that a model's weights lie in.

    With --json a line is {"name", "folder"}.
    """
    from polymodal.catalog.known import folder_of

    out = Output(as_json=json)
    folder = folder_of(name)
    out.line({"name": name, "folder": str(folder)})
    out.text(str(folder))


def models_pull(
    name: Name,
    allow_pickle: AllowPickle = False,
    allow_remote_code: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Get the code of this checkpoint too; nothing is run."),
    ] = None,
    json: Json = False,
) -> None:
    """Get a model's weights onto this machine.

    They are checked, and the model works offline from then on. POLYMODAL_OFFLINE=1 never asks a
    network: what is there is checked all the same.

    Example: polymodal models pull google/siglip2-base-patch16-224

    With --json a line is {"name", "folder", "size_bytes"}.
    """
    from polymodal.catalog.known import folder_bytes, pull
    from polymodal.catalog.names import full_name
    from polymodal.models.trust import Trust

    out = Output(as_json=json)
    code = tuple(map(full_name, allow_remote_code or ()))
    with noticed(code):
        folder = pull(name, trust=Trust(allow_pickle, code))
    size_bytes = folder_bytes(folder)
    out.line({"name": name, "folder": str(folder), "size_bytes": size_bytes})
    out.text(f"{name}: {size(size_bytes)} in {folder}")


def models_rm(name: Name, json: Json = False) -> None:
    """Delete a model's weights from this machine.

    From the hub's cache, or from polymodal's own.

    With --json a line is {"name", "freed_bytes"}.
    """
    from polymodal.catalog.known import remove

    out = Output(as_json=json)
    freed = remove(name)
    out.line({"name": name, "freed_bytes": freed})
    out.text(f"{name}: freed {size(freed)}")


def models_ps(json: Json = False) -> None:
    """List the models that are in memory now.

    In every process of yours. What a model takes is measured: by how much its process grew while it
    was loaded.

    With --json a line is {"pid", "program", "model", "part", "device", "host_bytes",
    "device_bytes", "age_s", "idle_s", "uses", "in_use"}.
    """
    from polymodal.runtime.processes import ask_all

    out = Output(as_json=json)
    held = ask_all()
    _tell_held(out, held)
    if not any(each.models for each in held):
        out.note("no process of yours has a model in memory")


def models_unload(name: Name, json: Json = False, quiet: Quiet = False) -> None:
    """Take a model out of memory.

    In every process of yours that holds it. NAME is the model as `ps` shows it. What is in use
    stays; the next call loads it again.

    With --json a line is a part that was unloaded, as `ps` gives it.
    """
    from polymodal.catalog.names import full_name
    from polymodal.runtime.processes import ask_all

    out, name = Output(as_json=json, quiet=quiet), full_name(name)
    held = ask_all(unload=name)
    _tell_held(out, held)
    if not any(each.models for each in held):
        still = [each for each in ask_all() for row in each.models if row.model == name]
        why = "it is in use" if still else "no process of yours holds it"
        out.note(f"nothing to unload: {name}: {why}. See: polymodal models ps")


def _tell_held(out: Output, held: Sequence[HeldBy]) -> None:
    rows = []
    for process in held:
        for each in process.models:
            out.line({"pid": process.pid, "program": process.program, **each.to_dict()})
            taken = each.device_bytes if each.device_bytes else each.host_bytes
            state = "in use" if each.in_use else f"idle {_time(each.idle_s)}"
            rows.append(
                [
                    str(process.pid),
                    each.model,
                    each.part,
                    size(taken),
                    each.device,
                    state,
                ]
            )
    # Its age is in the JSON: in 80 columns the name needs the room.
    headings = ["pid", "model", "part", "takes", "device", "now"]
    out.table(headings, rows, paths=(1,), numbers=(0, 3))


def _time(seconds: float) -> str:
    """`12 s`, `5 min`, `3 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def size(count_bytes: int) -> str:
    """See `polymodal.runtime.memory.in_words`."""
    from polymodal.runtime.memory import in_words

    return in_words(count_bytes)


def _here(row: KnownModel) -> str:
    if row.size_bytes is None:
        return "API" if row.licence == "vendor's terms" else "-"
    return size(row.size_bytes)


def _tell(out: Output, values: Mapping[str, Any], depth: int) -> None:
    """Values under their names; tables and lists indented, long words wrapped."""
    shown = {key: value for key, value in values.items() if value not in (None, "", [], {})}
    flat = [key for key, value in shown.items() if not isinstance(value, Mapping | list)]
    label_width = 2 * depth + max(map(len, flat), default=0) + 2
    for key, value in shown.items():
        label = f"{'  ' * depth}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            out.text(label)
            _tell(out, value, depth + 1)
        elif isinstance(value, list):
            out.text(label)
            for each in value:
                out.wrapped(str(each), f"{'  ' * (depth + 1)}- ")
        else:
            is_count = isinstance(value, int) and not isinstance(value, bool)
            text = f"{value:,}" if is_count else str(value)
            out.wrapped(text, label.ljust(label_width))
