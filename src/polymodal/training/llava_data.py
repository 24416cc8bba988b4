"""Conversations as batches: pictures and tokens, padded, grouped by length and by kind.

Notable: a pass's order follows from the seed and the pass alone, so a run resumes at the exact
sample. In a grouped order a batch holds conversations of about one length, all with pictures or all
without, as in LLaVA's `group_by_modality_length`; the batches themselves come in random order.

Legend of shapes: B conversations, T tokens, P pictures, N squares that they are seen as, S their
side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.errors import MediaError, UsageError
from polymodal.media.pictures import open_picture
from polymodal.training.chat import Encoded
from polymodal.training.conversations import Dialogue, Dialogues
from polymodal.training.llava_model import Llava
from polymodal.training.loading import TRIES, Sample
from polymodal.training.pairs import Place

__all__ = ["IGNORED", "Collator", "DialogueSamples", "Learnt", "grouped_order", "rows_of"]

IGNORED = -100
"""The label of a token that is not to be learnt."""
MEGABATCH = 50
"""Batches that are sorted by length together, as in transformers' LengthGroupedSampler."""


class Learnt(NamedTuple):
    """A conversation that can be learnt from.

    Attributes:
        ids, labels: (T,).
        pixels, sizes: see `Seen`; None without pictures.
    """

    ids: Tensor
    labels: Tensor
    pixels: Tensor | None = None
    sizes: Tensor | None = None


@dataclass(frozen=True)
class DialogueSamples:
    """Conversations as samples, each a `Learnt`.

    Attributes:
        plain: a picture and its text only, without the chat's words (stage 1).
        limit: tokens of a conversation at most; the rest is cut off.
    """

    dialogues: Dialogues
    llava: Llava
    plain: bool
    limit: int

    def __len__(self) -> int:
        return len(self.dialogues)

    def sample(self, epoch: int, index: int) -> Sample:
        """Item `index`; the same in every pass.

        Raises:
            UsageError: neither it nor any of its neighbours can be used.
        """
        del epoch
        failures: list[str] = []
        for step in range(min(TRIES, len(self))):
            item = self.dialogues.items[(index + step) % len(self)]
            try:
                return Sample(item.name, self._value(item), tuple(failures))
            except MediaError as error:
                failures.append(f"{item.name}: {error.reason}")
            except _UnusableError as error:
                failures.append(f"{item.name}: {error}")
        raise UsageError(
            f"{len(failures)} conversations in a row cannot be used in {self.dialogues.source}: "
            + "; ".join(failures[:3])
        )

    def _value(self, item: Dialogue) -> Learnt:
        if self.plain and not item.pictures:
            raise _UnusableError("it has no picture, which is what stage 1 is about")
        pictures = [self._opened(each) for each in self._pictures(item)]
        seen = self.llava.eyes.see(pictures) if pictures else None
        encoded = self._encoded(item, seen.tokens if seen else [])
        ids = torch.tensor(encoded.ids)
        labels = torch.where(torch.tensor(encoded.answers), ids, IGNORED)
        return Learnt(ids, labels, seen.pixels, seen.sizes) if seen else Learnt(ids, labels)

    def _pictures(self, item: Dialogue) -> Sequence[Any]:
        return item.pictures[:1] if self.plain else item.pictures

    def _opened(self, source: Any) -> Any:
        where = source.read() if isinstance(source, Place) else source
        return open_picture(where, target_px=self.llava.eyes.open_px).image

    def _encoded(self, item: Dialogue, tokens: list[int]) -> Encoded:
        chat = self.llava.chat
        if self.plain:
            answer = next(turn.text for turn in item.turns if turn.role == "assistant")
            whole = chat.plain(answer.strip(), tokens[0])
        else:
            whole = chat.encode(item.turns, tokens)
        kept = whole.upto(self.limit)
        if not any(kept.answers) or kept.ids.count(chat.image_id) < whole.ids.count(chat.image_id):
            raise _UnusableError(
                f"within {self.limit} tokens (`tokens`) it has no answer or not all its pictures,"
                f" which take {sum(tokens)}"
            )
        return kept


class _UnusableError(Exception):
    """Why a conversation cannot be learnt from."""


@dataclass(frozen=True)
class Collator:
    """Samples' values to a step's inputs, padded on the right with `pad_id`."""

    pad_id: int

    def __call__(self, values: Sequence[Any]) -> dict[str, Tensor | None]:
        """A batch of `Learnt`.

        Returns:
            input_ids, attention_mask, labels (B, T); pixel_values (N, 3, S, S) and, of tiled
            pictures, image_sizes (P, 2), where there are any; pictures (B, 2): how many of N and
            of P are each conversation's.
        """
        length = max(len(each.ids) for each in values)
        ids_BT = torch.full((len(values), length), self.pad_id)
        labels_BT = torch.full((len(values), length), IGNORED)
        mask_BT = torch.zeros((len(values), length), dtype=torch.long)
        for row, each in enumerate(values):
            stop = len(each.ids)
            ids_BT[row, :stop], labels_BT[row, :stop], mask_BT[row, :stop] = (
                each.ids,
                each.labels,
                1,
            )
        pixels = [each.pixels for each in values if each.pixels is not None]
        sizes = [each.sizes for each in values if each.sizes is not None]
        counts = [[0 if p is None else len(p) for p in (e.pixels, e.sizes)] for e in values]
        return {
            "input_ids": ids_BT,
            "attention_mask": mask_BT,
            "labels": labels_BT,
            "pixel_values": torch.cat(pixels) if pixels else None,
            "image_sizes": torch.cat(sizes) if sizes else None,
            "pictures": torch.tensor(counts),
        }


def rows_of(
    inputs: dict[str, Any], rows: slice
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Ids, mask, labels, pixels and sizes of some rows, without padding that only others need."""
    length = int(inputs["attention_mask"][rows].sum(1).max())
    first, count = inputs["pictures"][: rows.start].sum(0), inputs["pictures"][rows].sum(0)
    pixels, sizes = (
        inputs[name][int(first[n]) : int(first[n] + count[n])] if count[n] else None
        for n, name in enumerate(("pixel_values", "image_sizes"))
    )
    names = ("input_ids", "attention_mask", "labels")
    ids_BT, mask_BT, labels_BT = (inputs[name][rows, :length] for name in names)
    return ids_BT, mask_BT, labels_BT, pixels, sizes


def grouped_order(
    dialogues: Dialogues, batch: int, seed: int
) -> Callable[[int], NDArray[np.int64]]:
    """The items of a pass so that each batch has one kind and about one length."""
    words = np.array([item.words for item in dialogues.items])
    seen = np.array([bool(item.pictures) for item in dialogues.items])

    def order(epoch: int) -> NDArray[np.int64]:
        random = np.random.default_rng((seed, epoch))
        whole: list[NDArray[np.int64]] = []
        left: list[NDArray[np.int64]] = []
        for kind in (True, False):
            mixed = random.permutation(np.flatnonzero(seen == kind))
            for start in range(0, len(mixed), MEGABATCH * batch):
                mega = mixed[start : start + MEGABATCH * batch]
                mega = mega[np.argsort(-words[mega], kind="stable")]
                cut = len(mega) - len(mega) % batch
                whole += [mega[at : at + batch] for at in range(0, cut, batch)]
                left.append(mega[cut:])
        random.shuffle(whole)
        return np.concatenate([*whole, *left])

    cached: Callable[[int], NDArray[np.int64]] = lru_cache(2)(order)
    return cached
