"""Training: `polymodal train align` builds a model that sees, `train instruct` teaches it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polymodal.cli.options import Assign, Json, Quiet
from polymodal.cli.output import Output
from polymodal.cli.train import (
    AcceptChanges,
    DryRun,
    Into,
    Processes,
    Resume,
    Validation,
    checkpoint_source,
    name_skipped,
    output_for,
    require_training,
    say_trained,
)

__all__ = ["align", "instruct"]

Images = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="Where the conversations' pictures are; default: DATA's."),
]
Where = Annotated[str, typer.Option(metavar="auto|cpu", help="Where to train.")]


def align(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="Pictures with captions (as for contrastive), or conversations."
        ),
    ],
    vision: Annotated[
        str, typer.Option(metavar="NAME", help="The vision tower: a CLIP, SigLIP, DINOv2 or ViT.")
    ],
    language: Annotated[str, typer.Option(metavar="NAME", help="The language model.")],
    output: Into,
    recipe: Annotated[
        str,
        typer.Option(metavar="NAME", help="llava15_stage1, blip2_stage2, flamingo or nanovlm."),
    ] = "llava15_stage1",
    assign: Assign = None,
    images: Images = None,
    validation: Validation = None,
    device: Where = "auto",
    dry_run: DryRun = False,
    resume: Resume = False,
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Join a vision tower and a language model (stage 1 of LLaVA).

    Only the projector between them trains; other recipes join and train otherwise. FOLDER becomes
    one model, which `train instruct -m FOLDER` goes on from.
    """
    require_training()
    from polymodal.training.bridge_recipes import BUILDING
    from polymodal.training.bridges import build as built
    from polymodal.training.settings import overridden, recipe_of

    chosen = overridden(recipe_of(BUILDING, recipe), assign or [])

    def build() -> Any:
        tower = checkpoint_source(vision, any_kind=True)
        return built(chosen, tower, checkpoint_source(language, any_kind=True))

    out = output_for(quiet, as_json=as_json)
    how = {"resume": resume, "accept_changes": accept_changes}
    _run(chosen, build, (data, validation, images), output, device, out, how, dry_run=dry_run)


def instruct(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Conversations in LLaVA's JSON format.")
    ],
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="NAME", help="A folder of `align`, or a LLaVA."),
    ],
    output: Into,
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="llava15_stage2, or llava15_lora for adapters.")
    ] = "llava15_stage2",
    assign: Assign = None,
    images: Images = None,
    validation: Validation = None,
    device: Where = "auto",
    dry_run: DryRun = False,
    resume: Resume = False,
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach it to answer (stage 2 of LLaVA, or LoRA).

    The finished FOLDER is a model for every verb: polymodal ask PICTURE -q QUESTION -m FOLDER.
    """
    require_training()
    from polymodal.training.llava_model import load_llava
    from polymodal.training.llava_recipes import INSTRUCT
    from polymodal.training.settings import overridden, recipe_of

    chosen = overridden(recipe_of(INSTRUCT, recipe), assign or [])

    def build() -> Any:
        return load_llava(checkpoint_source(model))

    out = output_for(quiet, as_json=as_json)
    how = {"resume": resume, "accept_changes": accept_changes}
    _run(chosen, build, (data, validation, images), output, device, out, how, dry_run=dry_run)


def _run(
    recipe: Any,
    build: Any,
    sources: tuple[str, str | None, str | None],
    output: str,
    device: str,
    out: Output,
    how: dict[str, bool],
    *,
    dry_run: bool,
) -> None:
    from polymodal.training.conversations import open_dialogues
    from polymodal.training.llava_run import LlavaRun

    source, validation, images = sources
    dialogues = open_dialogues(source, images=images)
    name_skipped(dialogues, out)
    held_out = open_dialogues(validation, images=images) if validation else None
    with Processes(device) as where:
        run = LlavaRun(recipe, build(), dialogues, held_out, where)
        if dry_run:
            for line in run.estimate().lines:
                out.remark(line)
            return
        scores = run.run(Path(output), out.note, **how)
        say_trained(out, output, scores)
        del run  # as in `contrastive`
