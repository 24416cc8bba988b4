"""Training: `polymodal train align` builds a model that sees, `train instruct` teaches it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from polymodal.cli.options import Assign, Json, Quiet
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


@dataclass(frozen=True, kw_only=True)
class Run:
    """The options that both commands have."""

    output: Into
    assign: Assign = None
    images: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Where the conversations' pictures are; default: DATA's."
        ),
    ] = None
    validation: Validation = None
    device: Annotated[str, typer.Option(metavar="auto|cpu", help="Where to train.")] = "auto"
    dry_run: DryRun = False
    resume: Resume = False
    accept_changes: AcceptChanges = False
    as_json: Json = False
    quiet: Quiet = False


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer is to see it: with the fields of `Run` in place of `run`."""
    fields = inspect.signature(Run, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True).parameters
    named = {name: each for name, each in own.items() if name != "run"} | fields

    @functools.wraps(command)
    def told(**given: Any) -> None:
        run = Run(**{name: given.pop(name) for name in fields})
        command(run=run, **given)

    told.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in named.values()]
    )
    told.__annotations__ = {name: each.annotation for name, each in named.items()}
    return told


@_with_options
def align(
    run: Run,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="Pictures with captions (as for contrastive), or conversations."
        ),
    ],
    vision: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The vision tower: a CLIP, SigLIP, DINOv2 or ViT, or starter."
        ),
    ],
    language: Annotated[str, typer.Option(metavar="NAME", help="The language model.")],
    recipe: Annotated[
        str,
        typer.Option(metavar="NAME", help="llava15_stage1, blip2_stage2, flamingo or nanovlm."),
    ] = "llava15_stage1",
) -> None:
    """Join a vision tower and a language model (stage 1 of LLaVA).

    Only the projector between them trains; other recipes join and train otherwise. FOLDER becomes
    one model, which `train instruct -m FOLDER` goes on from.
    """
    require_training()
    from polymodal.training.bridge_recipes import BUILDING
    from polymodal.training.settings import overridden, recipe_of

    chosen = overridden(recipe_of(BUILDING, recipe), run.assign or [])
    _train(run, data, chosen, lambda: _assembled(chosen, vision, language))


@_with_options
def instruct(
    run: Run,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Conversations in LLaVA's JSON format.")
    ],
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="NAME", help="A folder of `align`, or a LLaVA."),
    ],
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="llava15_stage2, llava15_lora for adapters, or llava_next_stage2 for tiles.",
        ),
    ] = "llava15_stage2",
) -> None:
    """Teach it to answer (stage 2 of LLaVA, or LoRA).

    The finished FOLDER is a model for every verb: polymodal ask PICTURE -q QUESTION -m FOLDER.
    """
    require_training()
    from polymodal.training.llava_model import load_llava
    from polymodal.training.llava_recipes import INSTRUCT
    from polymodal.training.settings import overridden, recipe_of

    chosen = overridden(recipe_of(INSTRUCT, recipe), run.assign or [])
    _train(run, data, chosen, lambda: load_llava(checkpoint_source(model)))


def _assembled(recipe: Any, vision: str, language: str) -> Any:
    from polymodal.catalog.checkpoints import is_checkpoint_name
    from polymodal.catalog.sources import PACKAGES
    from polymodal.training.bridges import build

    packaged = vision in PACKAGES
    own = packaged or (Path(vision).expanduser().is_dir() and not is_checkpoint_name(vision))
    tower = _starter_tower(vision) if own else checkpoint_source(vision, any_kind=True)
    return build(recipe, tower, checkpoint_source(language, any_kind=True))


def _starter_tower(name: str) -> Any:
    from polymodal.catalog.opening import read_card
    from polymodal.catalog.sources import find_weights
    from polymodal.models.starter import IMAGE_FILE
    from polymodal.training.llava_towers import starter_tower

    card = read_card(name)
    how = {"crop": card.crop, "resize": card.resize, "licence": card.licence}
    return starter_tower(
        name, find_weights(name).read(IMAGE_FILE), side_px=card.image_size_px, **how
    )


def _train(run: Run, data: str, recipe: Any, build: Callable[[], Any]) -> None:
    from polymodal.training.conversations import open_dialogues
    from polymodal.training.llava_run import LlavaRun

    out = output_for(run.quiet, as_json=run.as_json)
    dialogues = open_dialogues(data, images=run.images)
    name_skipped(dialogues, out)
    held_out = open_dialogues(run.validation, images=run.images) if run.validation else None
    with Processes(run.device) as where:
        made = LlavaRun(recipe, build(), dialogues, held_out, where)
        if run.dry_run:
            for line in made.estimate().lines:
                out.remark(line)
            return
        how = {"resume": run.resume, "accept_changes": run.accept_changes}
        scores = made.run(Path(run.output), out.note, **how)
        say_trained(out, run.output, scores)
        del made  # as in `contrastive`
