"""What the usual ways of splitting a contrastive batch do to its gradient.

    python -m benchmarks.contrastive_gradients

A batch of 64 pairs through two small towers in float64, in 4 parts or on 4 ranks (played one after
another in this process). The reference is the gradient of the whole batch at once. "length" and
"direction" are of the towers' whole gradient: its norm over the reference's, their cosine.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.tables import conditions, markdown
from polymodal.nn.dual_encoder import DualEncoder
from polymodal.nn.losses import InfoNCE
from polymodal.training.contrastive import contrastive_step

ITEMS, PARTS = 64, 4
Way = Callable[[nn.Module, InfoNCE, Tensor, Tensor], None]


def towers() -> DualEncoder:
    """Two small towers, the same each time."""
    torch.manual_seed(0)
    sides = [nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 48)) for _ in range(2)]
    return DualEncoder(*sides, image_width=48, text_width=48, width=32).double()


def features(encoder: nn.Module, images: Tensor, texts: Tensor, own: int) -> tuple[Tensor, Tensor]:
    """Features of all items; only part `own` carries gradients."""
    with torch.no_grad():
        image_ND, text_ND = encoder(images, texts)
    rows = part(own)
    image_BD, text_BD = encoder(images[rows], texts[rows])
    ends = [
        torch.cat([all_[: rows.start], mine, all_[rows.stop :]])
        for all_, mine in ((image_ND, image_BD), (text_ND, text_BD))
    ]
    return ends[0], ends[1]


def part(number: int) -> slice:
    """The items of a part or rank."""
    size = ITEMS // PARTS
    return slice(number * size, (number + 1) * size)


def whole(encoder: nn.Module, loss: InfoNCE, images: Tensor, texts: Tensor) -> None:
    """The reference."""
    loss(*encoder(images, texts)).backward()


def cached(encoder: nn.Module, loss: InfoNCE, images: Tensor, texts: Tensor) -> None:
    """What polymodal does."""
    group = torch.arange(ITEMS)
    contrastive_step(encoder, loss, images, texts, group_B=group, chunks=PARTS)


def own_negatives(encoder: nn.Module, loss: InfoNCE, images: Tensor, texts: Tensor) -> None:
    """Each part against itself, losses averaged: accumulation as for classifiers."""
    for number in range(PARTS):
        rows = part(number)
        (loss(*encoder(images[rows], texts[rows])) / PARTS).backward()


def usual_accumulation(encoder: nn.Module, loss: InfoNCE, images: Tensor, texts: Tensor) -> None:
    """The whole loss once a part, the other parts' features cached (open_clip's accum_freq)."""
    for number in range(PARTS):
        loss(*features(encoder, images, texts, number)).backward()


def no_gathered_gradients(encoder: nn.Module, loss: InfoNCE, images: Tensor, texts: Tensor) -> None:
    """Ranks gather features without gradient, each takes the whole loss; gradients are averaged."""
    for number in range(PARTS):
        (loss(*features(encoder, images, texts, number)) / PARTS).backward()


def local_loss(encoder: nn.Module, loss: InfoNCE, images: Tensor, texts: Tensor) -> None:
    """The same with each rank's own rows as the loss (open_clip's local_loss alone)."""
    for number in range(PARTS):
        image_ND, text_ND = features(encoder, images, texts, number)
        rows = part(number)
        share = loss(
            image_ND[rows],
            text_ND[rows],
            all_image_ND=image_ND.detach(),
            all_text_ND=text_ND.detach(),
            offset=rows.start,
        )
        (share / PARTS).backward()


WAYS: dict[str, Way] = {
    "gradient caching (ours)": cached,
    "each part against itself": own_negatives,
    "whole loss once a part, gradients added": usual_accumulation,
    "ranks, gathered without gradient": no_gathered_gradients,
    "the same, own rows only": local_loss,
}


def gradient(way: Way) -> tuple[Tensor, float]:
    """Of the towers, as one vector, and of the scale."""
    encoder, loss = towers(), InfoNCE(scale=14.0).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(ITEMS, 32, generator=generator, dtype=torch.float64)
    texts = images + torch.randn(ITEMS, 32, generator=generator, dtype=torch.float64)
    way(encoder, loss, images, texts)
    towers_ = torch.cat([each.grad.flatten() for each in encoder.parameters()])
    return towers_, float(loss.logit_scale.grad)


def main() -> None:
    """Print the table."""
    reference, scale = gradient(whole)
    rows = []
    for name, way in WAYS.items():
        found, found_scale = gradient(way)
        length = float(found.norm() / reference.norm())
        direction = float(F.cosine_similarity(found, reference, dim=0))
        rows.append((name, f"{length:.4f}", f"{direction:.4f}", f"{found_scale / scale:.4f}"))
    header = [f"{PARTS} parts or ranks", "towers: length", "direction", "scale's gradient"]
    print(markdown(header, rows))
    print(f"\n{conditions('torch')}")


if __name__ == "__main__":
    main()
