"""Training: `polymodal train contrastive DATA -m MODEL -o FOLDER`; what all commands share."""

from __future__ import annotations

import gc
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.options import Assign, Json, Quiet
from polymodal.cli.output import Output
from polymodal.errors import MissingDependency, UsageError

if TYPE_CHECKING:
    from polymodal.training.pairs import Pairs

__all__ = ["contrastive"]

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A table of pictures and captions, class folders, or WebDataset shards.",
    ),
]
Into = Annotated[
    str,
    typer.Option("--output", "-o", metavar="FOLDER", help="The run's folder, then the model's."),
]
Start = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME", help="What to start from: a folder or hub id."),
]
Validation = Annotated[
    str | None, typer.Option(metavar="DATA", help="What to measure on while training.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say parameters, memory and time; train nothing.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in FOLDER.")]
AcceptChanges = Annotated[
    bool, typer.Option("--accept-changes", help="Resume although values have changed.")
]
SHOWN = 10


def contrastive(
    data: Data,
    output: Into,
    model: Start = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="clip_finetune, clip_from_scratch, siglip_lit or starter_finetune.",
        ),
    ] = None,
    assign: Assign = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="JSON: class folder to its description, or several."),
    ] = None,
    validation: Validation = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Pictures whose vectors stay as they are (starter)."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu", help="Where to train.")] = "auto",
    dry_run: DryRun = False,
    resume: Resume = False,
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach an embedder which pictures and texts belong together.

    Without --recipe it is starter_finetune for `-m starter`, otherwise clip_finetune. On several
    GPUs or machines: torchrun --nproc-per-node N -m polymodal train contrastive ... The finished
    FOLDER is a model for every verb: polymodal search ... -m FOLDER.
    """
    require_training()
    from polymodal.training.recipes import recipe_called
    from polymodal.training.settings import overridden

    out = output_for(quiet, as_json=as_json)
    name = recipe or ("starter_finetune" if model == "starter" else "clip_finetune")
    chosen = overridden(recipe_called(name), assign or [])
    if keep is not None and name != "starter_finetune":
        raise UsageError("--keep is for --recipe starter_finetune.")
    pairs = _opened(data, classes, out)
    held_out = (
        _opened(validation, classes if Path(validation).is_dir() else None, out)
        if validation
        else None
    )
    with Processes(device) as where:
        run = _contrastive_run(chosen, model, pairs, held_out, keep, where, out.note)
        if dry_run:
            for line in run.estimate().lines:
                out.remark(line)
            return
        scores = run.run(Path(output), out.note, resume=resume, accept_changes=accept_changes)
        say_trained(out, output, scores)
        del run  # shards hold on to the processes' connections, which are closed now


def output_for(quiet: bool, *, as_json: bool = False) -> Output:
    """Under torchrun the first process speaks for all."""
    others = os.environ.get("RANK", "0") != "0"
    return Output(as_json=as_json and not others, quiet=quiet or others)


def say_trained(
    out: Output, folder: str, scores: dict[str, float], *, use: str | None = None
) -> None:
    """What came of a run, and how it is used: as a model, unless told otherwise."""
    out.line({"model": folder, "scores": scores})
    if not out.as_json:
        out.remark(f"{folder} is trained: use it with {use or f'-m {folder}'}")


def require_training() -> None:
    """Stop with how to install it, where a package that all training needs is missing."""
    for package in ("torch", "transformers", "tokenizers"):
        if find_spec(package) is None:
            raise MissingDependency(
                f"training needs {package}, which is not installed. Run: pip install"
                " 'polymodal[train]'"
            )


def _opened(source: str, classes: str | None, out: Output) -> Pairs:
    from polymodal.training.pairs import open_pairs

    pairs = open_pairs(source, classes=classes)
    name_skipped(pairs, out)
    return pairs


def name_skipped(data: Any, out: Output) -> None:
    """Say which items of a data set were left out, and why."""
    for line in data.skipped[:SHOWN]:
        out.note(f"skipped: {line}")
    if len(data.skipped) > SHOWN:
        out.note(f"... and {len(data.skipped) - SHOWN} more")
    if data.skipped:
        out.note(f"{data.source}: {len(data)} items, {len(data.skipped)} skipped")


def _contrastive_run(
    recipe: Any,
    model: str | None,
    pairs: Pairs,
    held_out: Pairs | None,
    keep: str | None,
    where: Any,
    say: Any,
) -> Any:
    from polymodal.training.contrastive_run import ContrastiveRun
    from polymodal.training.recipes import ClipRecipe, StarterRecipe

    if isinstance(recipe, StarterRecipe):
        return _starter_run(recipe, model or "starter", pairs, held_out, keep, say)
    source = None if model is None else checkpoint_source(model)
    if source is None and not isinstance(recipe, ClipRecipe):
        raise UsageError(f"{recipe.name} starts from a checkpoint: name it with -m.")
    return ContrastiveRun(recipe, source, pairs, held_out, where)


def _starter_run(
    recipe: Any, model: str, pairs: Pairs, held_out: Pairs | None, keep: str | None, say: Any
) -> Any:
    from polymodal.catalog.opening import open_embedder
    from polymodal.catalog.sources import find_weights
    from polymodal.cli.common import find_inputs
    from polymodal.models.starter import StarterEmbedder
    from polymodal.training.starter_run import StarterRun

    embedder = open_embedder(model)
    if not isinstance(embedder, StarterEmbedder):
        raise UsageError(
            f"{recipe.name} fits a head on the starter, and {model} is another kind of model:"
            " --recipe clip_finetune."
        )
    kept = [] if keep is None else find_inputs([keep]).files
    return StarterRun(recipe, embedder, find_weights(model).read, pairs, held_out, kept, say)


def checkpoint_source(model: str, *, any_kind: bool = False) -> Any:
    """Where the checkpoint called `model` lies.

    Args:
        any_kind: see `open_checkpoint`.

    Raises:
        ModelUnavailable, DamagedWeights: see `open_checkpoint`.
        UsageError: it is no checkpoint of transformers.
    """
    from polymodal.catalog.checkpoints import open_checkpoint
    from polymodal.catalog.names import full_name
    from polymodal.catalog.sources import PACKAGES
    from polymodal.models.hub_loading import Source

    if model in PACKAGES:
        raise UsageError(
            f"{model} is no checkpoint of transformers, which is asked for here: name a folder, or"
            " an id of the hub such as google/siglip2-base-patch16-224."
        )

    found = open_checkpoint(full_name(model), any_kind=any_kind)
    return Source(found.name, found.folder, found.weights)


class Processes:
    """The device of this process; under torchrun, the group of all of them."""

    def __init__(self, device: str) -> None:
        if device not in ("auto", "cpu"):
            raise UsageError(f"device {device!r} is not known; use 'auto' or 'cpu'.")
        self._device = device

    def __enter__(self) -> Any:
        import torch

        cuda = self._device == "auto" and torch.cuda.is_available()
        if "LOCAL_RANK" in os.environ:
            torch.distributed.init_process_group("nccl" if cuda else "gloo")
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if cuda:
            torch.cuda.set_device(local)
        return torch.device("cuda", local) if cuda else torch.device("cpu")

    def __exit__(self, *error: object) -> None:
        import torch

        if torch.distributed.is_initialized():
            if error[0] is None:
                torch.distributed.barrier()  # the first may still be writing the model
            gc.collect()
            torch.distributed.destroy_process_group()
