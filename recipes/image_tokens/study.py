"""From drawings to numbers: every stage, and what is measured of it on the test drawings."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polymodal.nn.transformer import CausalTransformer
from polymodal.nn.vq import VQTokenizer
from recipes.image_tokens import measure, stages
from recipes.image_tokens.data import COLOURS, SHAPES, Drawings
from recipes.image_tokens.judge import Judge
from recipes.image_tokens.settings import CODEBOOKS, Plan
from recipes.image_tokens.stages import Where

__all__ = ["Drawn", "study"]

UNSUITED = "words instead of codes"


@dataclass(frozen=True)
class Drawn:
    """What was asked for and drawn: bytes (n, 3, H, W), colours (n), shapes (n), codes (n, S)."""

    pixels: Tensor
    colour: Tensor
    shape: Tensor
    ids: Tensor


@dataclass(frozen=True)
class Study:
    """The numbers, and the pictures to show: of the test part, rebuilt, and drawn."""

    results: dict[str, Any]
    real: Drawings
    rebuilt: Tensor
    drawn: Drawn


def study(
    parts: dict[str, Drawings],
    plan: Plan,
    folder: Path,
    say: Callable[[str], None],
    *,
    resume: bool = False,
    accept_changes: bool = False,
) -> Study:
    """Train every stage in a folder of its own and measure it.

    Args:
        parts: train, dev and test. Nothing is trained or chosen on test.
        resume: go on with what the folder holds.
        accept_changes: even where it was run with other values.

    Raises:
        UsageError: see `polymodal.training.runfolder.RunFolder.begin`.
        TrainingError: see `polymodal.training.trainer.Trainer.run`.
    """
    began = time.process_time()

    def at(name: str) -> Where:
        return Where(folder / name, lambda text: say(f"{name}: {text}"), resume, accept_changes)

    train, dev, test = (parts[name] for name in ("train", "dev", "test"))
    books: dict[str, Any] = {}
    tokenizers: dict[str, VQTokenizer] = {}
    for codebook in CODEBOOKS:
        tokenizers[codebook] = stages.tokenizer(
            train, dev, plan.of(codebook), at(f"tokenizer-{codebook}")
        )
        books[codebook] = about_codebook(tokenizers[codebook], test)
    tokenizer = tokenizers[CODEBOOKS[0]]
    named = {name: part.named() for name, part in parts.items()}
    ids = {name: stages.sequences(tokenizer, part) for name, part in named.items()}
    model = stages.drawer(ids, plan.tokenizer.codes, plan.drawing, at("drawer"))
    drawn = draw(model, tokenizer, ids["test"].shape[1] - 2, plan)
    results = {
        "drawings": {name: [len(part), len(named[name])] for name, part in parts.items()},
        "codes": plan.tokenizer.codes,
        "places": drawn.ids.shape[1],
        "flat": rebuilding(test.pixels, measure.flat(test.pixels)),
        "codebooks": books,
        "bits": coding(model, ids, plan.tokenizer.codes),
        "judged": judged(Judge.of(named["train"]), tokenizer, named["test"], drawn, ids["train"]),
        # Of all threads; of a run that goes on it would be the last part alone.
        "cpu_minutes": None if resume else (time.process_time() - began) / 60,
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return Study(results, test, stages.rebuilt(tokenizer, test.pixels), drawn)


def rebuilding(pixels: Tensor, others: Tensor) -> dict[str, float]:
    """How far pictures are from the originals."""
    return {
        "psnr_db": measure.psnr_db(pixels, others),
        "mse": float(measure.mean_squared(pixels, others).mean()),
    }


def about_codebook(model: VQTokenizer, test: Drawings) -> dict[str, float]:
    """What a tokenizer makes of drawings it has not seen, and with how many codes."""
    ids = stages.codes_of(model, test.pixels)
    codes = len(model.quantizer.code_KD)
    return {
        **rebuilding(test.pixels, stages.pictures_of(model, ids)),
        "perplexity": measure.perplexity(ids, codes),
        "dead": measure.dead_codes(ids, codes),
    }


def coding(model: CausalTransformer, ids: dict[str, Tensor], codes: int) -> dict[str, float]:
    """What a code of a test drawing costs, by the model and by counting."""
    test = ids["test"]
    others = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0)), :2]
    train = ids["train"][:, 2:]
    return {
        "model": stages.bits(model, test),
        "model, another drawing's words": stages.bits(model, torch.cat([others, test[:, 2:]], 1)),
        "counts by place": measure.unigram_bits(train, test[:, 2:], codes, by_place=True),
        "counts": measure.unigram_bits(train, test[:, 2:], codes, by_place=False),
    }


def draw(model: CausalTransformer, tokenizer: VQTokenizer, places: int, plan: Plan) -> Drawn:
    """Drawings of every colour and shape, sampled as the model says (temperature 1)."""
    codes = len(tokenizer.quantizer.code_KD)
    pairs = torch.cartesian_prod(torch.arange(len(COLOURS)), torch.arange(len(SHAPES)))
    colour, shape = pairs.repeat_interleave(plan.asked, 0).unbind(1)
    torch.manual_seed(0)
    asked_n2 = stages.words_of(colour, shape, codes)
    ids_nS = torch.cat([model.generate(part, places)[:, 2:] for part in asked_n2.split(120)])
    side = int(places**0.5)
    # A word where a code should be has no picture: the first code's stands there.
    grid_nhw = ids_nS.masked_fill(ids_nS >= codes, 0).view(-1, side, side)
    return Drawn(stages.pictures_of(tokenizer, grid_nhw), colour, shape, ids_nS)


def judged(
    judge: Judge, tokenizer: VQTokenizer, real: Drawings, drawn: Drawn, train: Tensor
) -> dict[str, Any]:
    """What the judge says of real, rebuilt and drawn pictures; and which codes were drawn."""
    own = (real.colour, real.shape)
    codes = len(tokenizer.quantizer.code_KD)
    seen = {tuple(row) for row in train[:, 2:].tolist()}
    return {
        "real": measure.right(judge.says(real.pixels), own),
        "rebuilt": measure.right(judge.says(stages.rebuilt(tokenizer, real.pixels)), own),
        "drawn": measure.right(judge.says(drawn.pixels), (drawn.colour, drawn.shape)),
        "number drawn": len(drawn.ids),
        UNSUITED: int((drawn.ids >= codes).sum()),
        "copies of training drawings": sum(tuple(row) in seen for row in drawn.ids.tolist()),
    }
