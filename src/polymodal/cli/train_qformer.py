"""Training: `polymodal train qformer` teaches a Q-Former what a frozen tower sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polymodal.cli.options import Assign, Json, Quiet
from polymodal.cli.train import (
    AcceptChanges,
    Data,
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

__all__ = ["qformer"]


def qformer(
    data: Data,
    vision: Annotated[
        str, typer.Option(metavar="NAME", help="The vision tower: a CLIP, SigLIP, DINOv2 or ViT.")
    ],
    text: Annotated[
        str, typer.Option(metavar="NAME", help="A BERT, which the Q-Former starts from.")
    ],
    output: Into,
    recipe: Annotated[str, typer.Option(metavar="NAME", help="blip2_stage1.")] = "blip2_stage1",
    assign: Assign = None,
    validation: Validation = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu", help="Where to train.")] = "auto",
    dry_run: DryRun = False,
    resume: Resume = False,
    accept_changes: AcceptChanges = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Teach a Q-Former what a tower sees (stage 1 of BLIP-2).

    The tower stays as it is. FOLDER writes nothing by itself: go on with polymodal train align
    --recipe blip2_stage2 --vision FOLDER.
    """
    require_training()
    from polymodal.training.bridge_recipes import QFORMER
    from polymodal.training.pairs import open_pairs
    from polymodal.training.qformer_run import QFormerRun
    from polymodal.training.settings import overridden, recipe_of

    out = output_for(quiet, as_json=as_json)
    chosen = overridden(recipe_of(QFORMER, recipe), assign or [])
    pairs = open_pairs(data)
    name_skipped(pairs, out)
    held_out = open_pairs(validation) if validation else None
    with Processes(device) as where:
        parts = checkpoint_source(vision, any_kind=True), checkpoint_source(text, any_kind=True)
        run = QFormerRun(chosen, *parts, pairs, held_out, where)
        if dry_run:
            for line in run.estimate().lines:
                out.remark(line)
            return
        scores = run.run(Path(output), out.note, resume=resume, accept_changes=accept_changes)
        say_trained(out, output, scores, use=f"--recipe blip2_stage2 --vision {output}")
