"""Visual tokens in a language model's sequence (Liu et al. 2023): any number of pictures, anywhere.

Notable: a prompt holds one placeholder a picture, and `expand` turns it into as many as the picture
has tokens; after that the ids, the labels and the masks have their final length, and `merge` only
overwrites embeddings. So everything that works on ids (lengths, grouping, generation with
`inputs_embeds`) is told the truth, and a prompt that was expanded elsewhere (a processor of
transformers) merges the same.

Legend of shapes: B items, S length of the longest sequence, P pictures, T their visual tokens in
all, W width of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["IGNORED", "Sequences", "expand", "merge"]

IGNORED = -100
"""The label that torch's cross-entropy leaves out."""


@dataclass(frozen=True)
class Sequences:
    """Padded sequences, as a language model takes them."""

    ids_BS: Tensor
    mask_BS: Tensor  # 1 where there is a token
    position_BS: Tensor  # counts a sequence's own tokens from 0; 0 on the padding
    labels_BS: Tensor  # IGNORED on padding, placeholders, and wherever it was before


def expand(
    ids: Sequence[Sequence[int]],
    tokens: Sequence[int],
    *,
    placeholder: int,
    pad: int,
    labels: Sequence[Sequence[int]] | None = None,
    side: str = "right",
) -> Sequences:
    """Sequences whose placeholders take as much room as their pictures.

    Args:
        ids: token ids of each item, with one `placeholder` a picture.
        tokens: how many visual tokens each picture has, in the order of the placeholders of the
            whole batch.
        placeholder: the id that stands for a picture.
        pad: the id that fills up the shorter ones.
        labels: what to learn, aligned with `ids`; by default the ids themselves.
        side: where the padding stands: "right" to train, "left" to generate.

    Raises:
        ValueError: the placeholders are not as many as the pictures; labels of another length.
    """
    if side not in {"left", "right"}:
        raise ValueError(f"padding stands on the left or the right, not {side!r}")
    _check_count(sum(list(row).count(placeholder) for row in ids), len(tokens), "pictures")
    sizes = iter(tokens)
    rows, targets = [], []
    for item, row in enumerate(ids):
        wanted = row if labels is None else labels[item]
        if len(wanted) != len(row):
            raise ValueError(f"item {item} has {len(row)} ids and {len(wanted)} labels")
        long: list[int] = []
        learnt: list[int] = []
        for token, label in zip(row, wanted, strict=True):
            if token == placeholder:
                size = next(sizes)
                long += [placeholder] * size
                learnt += [IGNORED] * size
            else:
                long.append(token)
                learnt.append(label)
        rows.append(long)
        targets.append(learnt)
    return _padded(rows, targets, pad=pad, left=side == "left")


def _padded(rows: list[list[int]], targets: list[list[int]], *, pad: int, left: bool) -> Sequences:
    length = max((len(row) for row in rows), default=0)
    ids_BS = torch.full((len(rows), length), pad)
    labels_BS = torch.full((len(rows), length), IGNORED)
    mask_BS = torch.zeros((len(rows), length), dtype=torch.long)
    for i, (row, target) in enumerate(zip(rows, targets, strict=True)):
        part = slice(length - len(row), length) if left else slice(0, len(row))
        ids_BS[i, part] = torch.tensor(row, dtype=torch.long)
        labels_BS[i, part] = torch.tensor(target, dtype=torch.long)
        mask_BS[i, part] = 1
    position_BS = (mask_BS.cumsum(1) - 1).clamp(min=0) * mask_BS
    return Sequences(ids_BS, mask_BS, position_BS, labels_BS)


def merge(
    embedding_BSW: Tensor,
    ids_BS: Tensor,
    visual: Tensor | Sequence[Tensor],
    *,
    placeholder: int,
) -> Tensor:
    """The embeddings with the placeholders' rows replaced by visual tokens, in reading order.

    Args:
        embedding_BSW: the language model's embeddings of `ids_BS`.
        ids_BS: expanded ids: as many placeholders as visual tokens.
        visual: the tokens of the pictures, projected to W: (P, N, W), (T, W), or a list of
            (N_i, W) for pictures of different sizes.
        placeholder: the id that stands for a visual token.

    Raises:
        ValueError: the placeholders are not as many as the visual tokens; another width.
    """
    if not isinstance(visual, Tensor):
        visual = torch.cat(list(visual)) if len(visual) else embedding_BSW.new_zeros((0, 0))
    visual_TW = visual.flatten(0, -2)
    place_BS = ids_BS == placeholder
    _check_count(int(place_BS.sum()), len(visual_TW), "visual tokens")
    if not len(visual_TW):
        return embedding_BSW
    if visual_TW.shape[1] != embedding_BSW.shape[2]:
        raise ValueError(
            f"visual tokens are {visual_TW.shape[1]} wide and the language model "
            f"{embedding_BSW.shape[2]}: project them first"
        )
    return embedding_BSW.masked_scatter(place_BS[..., None], visual_TW.to(embedding_BSW.dtype))


def _check_count(placeholders: int, given: int, what: str) -> None:
    if placeholders != given:
        raise ValueError(
            f"the prompts hold {placeholders} placeholders and there are {given} {what}: each "
            "needs the other. A tokenizer without the image token splits it into pieces; a prompt "
            "cut to a maximum length loses some"
        )
