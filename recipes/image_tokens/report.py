"""The numbers as tables, the pictures as one image, and both as docs/image-tokens.md."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recipes.image_tokens.data import COLOURS, SHAPES
from recipes.image_tokens.study import Study

__all__ = ["tables", "write_image", "write_page"]

BOOKS = {
    "restarts": "running means, dead codes restart",
    "means": "running means alone",
    "gradients": "trained by gradients",
}
HEAD = """\
# Pictures as tokens: a codebook, and a model that draws by it

Written by `python -m recipes.image_tokens --output DIR`, then `--report DIR --out docs`; everything
is trained from nothing on the drawings of the package `easy-vqa` (64 x 64 px){took}.
The blocks are `polymodal.nn.vq` and `polymodal.nn.transformer`, the loop is that of
[training](training.md), so a run that is stopped goes on with `--resume`.
"""


def tables(results: dict[str, Any]) -> str:
    """Markdown."""
    return "\n".join([_codebooks(results), _coding(results), _judging(results)])


def _codebooks(results: dict[str, Any]) -> str:
    test, codes = results["drawings"]["test"][0], results["codes"]
    rows = [
        f"| {BOOKS[name]} | {book['psnr_db']:.1f} | {book['mse']:.5f} "
        f"| {book['perplexity']:.0f} | {book['dead']} |"
        for name, book in results["codebooks"].items()
    ]
    flat = results["flat"]
    return "\n".join(
        [
            f"## The tokenizer: {codes} codes, {test:,} test drawings rebuilt\n",
            f"| codebook | PSNR, dB | MSE | perplexity | dead of {codes} |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            f"| (the background alone) | {flat['psnr_db']:.1f} | {flat['mse']:.5f} | | |",
            "",
        ]
    )


def _coding(results: dict[str, Any]) -> str:
    test = results["drawings"]["test"][1]
    names = {
        "model": "the model",
        "model, another drawing's words": "the model, told another drawing's words",
        "counts by place": "how often a code stands at its place",
        "counts": "how often a code occurs",
    }
    rows = [f"| {name} | {results['bits'][key]:.2f} |" for key, name in names.items()]
    return "\n".join(
        [
            f"## The model over codes: {test} test drawings\n",
            "| predicted by | bits a code |",
            "| --- | --- |",
            *rows,
            "",
        ]
    )


def _judging(results: dict[str, Any]) -> str:
    judged, named = results["judged"], results["drawings"]["test"][1]
    names = {
        "real": f"{named} test drawings",
        "rebuilt": "the same, rebuilt from their codes",
        "drawn": f"{judged['number drawn']} drawn by the model",
    }
    rows = [
        f"| {name} | " + " | ".join(f"{100 * judged[key][what]:.1f}" for what in judged[key]) + " |"
        for key, name in names.items()
    ]
    return "\n".join(
        [
            "## What was drawn, measured: the colour of the ink, the share of its box it fills\n",
            "| per cent right | colour | shape | both |",
            "| --- | --- | --- | --- |",
            *rows,
            "| (chance) | 12.5 | 33.3 | 4.2 |",
            "",
            f"Words where a code should be: {judged['words instead of codes']} of "
            f"{judged['number drawn'] * results['places']:,}. Drawn as a training drawing is, "
            f"code for code: {judged['copies of training drawings']}.",
            "",
        ]
    )


def write_image(shown: Study, file: Path) -> None:
    """Real, rebuilt and drawn pictures, a column a colour."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    rows: list[tuple[str, list[Tensor]]] = []
    of = [torch.nonzero(shown.real.colour == place)[0, 0] for place in range(len(COLOURS))]
    rows += [("real", [shown.real.pixels[at] for at in of])]
    rows += [("rebuilt", [shown.rebuilt[at] for at in of])]
    drawn = shown.drawn
    for place, shape in enumerate(SHAPES):
        for number in range(2):
            which = [
                torch.nonzero((drawn.colour == colour) & (drawn.shape == place))[number, 0]
                for colour in range(len(COLOURS))
            ]
            rows.append((f"drawn:\n{shape}", [drawn.pixels[at] for at in which]))
    side, gap = shown.real.pixels.shape[-1], 4
    step = side + gap
    sheet = torch.full((step * len(rows) - gap, step * len(COLOURS) - gap, 3), 255).byte()
    for y, (_, pictures) in enumerate(rows):
        for x, picture in enumerate(pictures):
            sheet[y * step :, x * step :][:side, :side] = picture.permute(1, 2, 0)
    figure, axis = plt.subplots(figsize=(7.2, 6.4), layout="constrained")
    axis.imshow(sheet.numpy(), interpolation="nearest")
    axis.set_xticks([step * x + side / 2 for x in range(len(COLOURS))], COLOURS)
    axis.set_yticks([step * y + side / 2 for y in range(len(rows))], [name for name, _ in rows])
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    figure.savefig(file, dpi=90, metadata={"Software": None}, pil_kwargs={"optimize": True})
    plt.close(figure)


def write_page(results: dict[str, Any], image: Path, out: Path) -> None:
    """Write `image-tokens.md` and its image into the folder `out`."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image, out / "images" / "image-tokens.png")
    minutes = results["cpu_minutes"]
    parts = [
        HEAD.format(took=f", in {minutes:.0f} CPU minutes" if minutes else ""),
        tables(results),
        "![Real, rebuilt and drawn pictures](images/image-tokens.png)\n",
        Path(__file__).with_name("findings.md").read_text(encoding="utf-8"),
    ]
    (out / "image-tokens.md").write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")
