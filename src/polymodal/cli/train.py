"""Training: `polymodal train contrastive DATA -m MODEL -o FOLDER`."""

from __future__ import annotations

import gc
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.options import Json, Quiet
from polymodal.cli.output import Output
from polymodal.errors import MissingDependency, UsageError

if TYPE_CHECKING:
    from polymodal.training.pairs import Pairs

__all__ = ["align", "contrastive", "instruct"]

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
Assign = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the recipe; repeatable."),
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
    _require_torch()
    from polymodal.training.recipes import recipe_called
    from polymodal.training.settings import overridden

    out = _output(quiet, as_json=as_json)
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
    with _Processes(device) as where:
        run = _contrastive_run(chosen, model, pairs, held_out, keep, where, out.note)
        if dry_run:
            for line in run.estimate().lines:
                out.remark(line)
            return
        scores = run.run(Path(output), out.note, resume=resume, accept_changes=accept_changes)
        _say_trained(out, output, scores)
        del run  # shards hold on to the processes' connections, which are closed now


Dialogues = Annotated[
    str, typer.Argument(metavar="DATA", help="Conversations in LLaVA's JSON; pictures beside it.")
]


def align(
    data: Dialogues,
    output: Into,
    vision: Annotated[str, typer.Option(metavar="NAME", help="A CLIP or SigLIP checkpoint.")],
    language: Annotated[str, typer.Option(metavar="NAME", help="A causal language model.")],
    assign: Assign = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu", help="Where to train.")] = "auto",
    resume: Resume = False,
    accept_changes: AcceptChanges = False,
    quiet: Quiet = False,
) -> None:
    """Join an image tower and a language model: train the projector between them.

    Stage 1 of LLaVA 1.5 (recipe llava15_stage1): only answers are learned. FOLDER is then what
    `train instruct` starts from, and a model for caption, ask and extract.
    """
    _require_torch()
    from polymodal.training.instruct import joined
    from polymodal.training.recipes_llava import llava15_stage1
    from polymodal.training.settings import overridden

    out = _output(quiet)
    recipe = overridden(llava15_stage1(), assign or [])
    model, processor = joined(checkpoint_source(vision), checkpoint_source(language), recipe.seed)
    name = f"{vision} and {language}"
    _instruct((recipe, model, processor, name), data, device, out)(
        output, resume=resume, accept_changes=accept_changes
    )


def instruct(
    data: Dialogues,
    output: Into,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="A LLaVA: of `train align`, say.")
    ],
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="llava15_stage2 or llava15_lora.")
    ] = "llava15_lora",
    assign: Assign = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu", help="Where to train.")] = "auto",
    resume: Resume = False,
    accept_changes: AcceptChanges = False,
    quiet: Quiet = False,
) -> None:
    """Teach a model that sees to answer: language model and projector, whole or by LoRA.

    FOLDER is then a model for caption, ask and extract: polymodal ask ... -m FOLDER.
    """
    _require_torch()
    from polymodal.training.instruct import loaded
    from polymodal.training.recipes_llava import llava_recipe_called
    from polymodal.training.settings import overridden

    out = _output(quiet)
    chosen = overridden(llava_recipe_called(recipe), assign or [])
    whole, processor = loaded(checkpoint_source(model))
    _instruct((chosen, whole, processor, model), data, device, out)(
        output, resume=resume, accept_changes=accept_changes
    )


def _instruct(made: tuple[Any, Any, Any, str], data: str, device: str, out: Output) -> Any:
    """What runs either stage into a folder."""
    from polymodal.training.conversations import open_conversations
    from polymodal.training.instruct import InstructRun

    conversations = open_conversations(data)
    _name_skipped(conversations, data, out)

    def run(output: str, **how: bool) -> None:
        with _Processes(device) as where:
            task = InstructRun(*made, data=conversations, device=where)
            task.run(Path(output), out.note, **how)
            _say_trained(out, output, {})
            del task  # as above

    return run


def _output(quiet: bool, *, as_json: bool = False) -> Output:
    """Under torchrun the first process speaks for all."""
    others = os.environ.get("RANK", "0") != "0"
    return Output(as_json=as_json and not others, quiet=quiet or others)


def _say_trained(out: Output, folder: str, scores: dict[str, float]) -> None:
    out.line({"model": folder, "scores": scores})
    if not out.as_json:
        out.remark(f"{folder} is trained: use it with -m {folder}")


def _require_torch() -> None:
    for package in ("torch", "transformers", "tokenizers"):
        if find_spec(package) is None:
            raise MissingDependency(
                f"training needs {package}, which is not installed. Run: pip install"
                " 'polymodal[train]'"
            )


def _opened(source: str, classes: str | None, out: Output) -> Pairs:
    from polymodal.training.pairs import open_pairs

    pairs = open_pairs(source, classes=classes)
    _name_skipped(pairs, source, out)
    return pairs


def _name_skipped(data: Any, source: str, out: Output) -> None:
    for line in data.skipped[:SHOWN]:
        out.note(f"skipped: {line}")
    if len(data.skipped) > SHOWN:
        out.note(f"... and {len(data.skipped) - SHOWN} more")
    if data.skipped:
        out.note(f"{source}: {len(data)} items, {len(data.skipped)} skipped")


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


def checkpoint_source(model: str) -> Any:
    """Where the checkpoint called `model` lies.

    Raises:
        ModelUnavailable, DamagedWeights: see `open_checkpoint`.
    """
    from polymodal.catalog.checkpoints import open_checkpoint
    from polymodal.models.hub_loading import Source

    found = open_checkpoint(model)
    return Source(found.name, found.folder, found.weights)


class _Processes:
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
