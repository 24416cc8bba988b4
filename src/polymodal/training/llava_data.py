"""Conversations as batches: pictures and tokens, padded, grouped by length and by kind.

Notable: a pass's order follows from the seed and the pass alone, so a run resumes at the exact
sample. In a grouped order a batch holds conversations of about one length, all with pictures or all
without, as in LLaVA's `group_by_modality_length`; the batches themselves come in random order.

Legend of shapes: B conversations, T tokens, P pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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

__all__ = ["IGNORED", "Collator", "DialogueSamples", "grouped_order", "rows_of"]

IGNORED = -100
"""The label of a token that is not to be learnt."""
MEGABATCH = 50
"""Batches that are sorted by length together, as in transformers' LengthGroupedSampler."""


@dataclass(frozen=True)
class DialogueSamples:
    """Conversations as samples: ids (T,), labels (T,), pixels (P, 3, H, W) or None.

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

    def _value(self, item: Dialogue) -> tuple[Tensor, Tensor, Tensor | None]:
        encoded = self._encoded(item)
        pictures = [self._opened(each) for each in self._pictures(item)]
        pixels = None
        if pictures:
            images = self.llava.processor.image_processor
            pixels = images(images=pictures, return_tensors="pt")["pixel_values"]
        ids = torch.tensor(encoded.ids)
        return ids, torch.where(torch.tensor(encoded.answers), ids, IGNORED), pixels

    def _pictures(self, item: Dialogue) -> Sequence[Any]:
        return item.pictures[:1] if self.plain else item.pictures

    def _opened(self, source: Any) -> Any:
        where = source.read() if isinstance(source, Place) else source
        return open_picture(where, target_px=self.llava.side_px).image

    def _encoded(self, item: Dialogue) -> Encoded:
        chat, tokens = self.llava.chat, self.llava.tokens
        if self.plain:
            if not item.pictures:
                raise _UnusableError("it has no picture, which is what stage 1 is about")
            answer = next(turn.text for turn in item.turns if turn.role == "assistant")
            whole = chat.plain(answer.strip(), tokens)
        else:
            whole = chat.encode(item.turns, tokens)
        kept = whole.upto(self.limit)
        if not any(kept.answers) or kept.ids.count(chat.image_id) < whole.ids.count(chat.image_id):
            raise _UnusableError(
                f"within {self.limit} tokens (`tokens`) it has no answer or not all its pictures"
            )
        return kept


class _UnusableError(Exception):
    """Why a conversation cannot be learnt from."""


@dataclass(frozen=True)
class Collator:
    """Samples' values to a step's inputs, padded on the right with `pad_id`."""

    pad_id: int

    def __call__(self, values: Sequence[Any]) -> dict[str, Tensor | None]:
        """input_ids, attention_mask, labels (B, T); pixel_values (P, 3, H, W); pictures (B,)."""
        length = max(len(ids) for ids, _, _ in values)
        ids_BT = torch.full((len(values), length), self.pad_id)
        labels_BT = torch.full((len(values), length), IGNORED)
        mask_BT = torch.zeros((len(values), length), dtype=torch.long)
        for row, (ids, labels, _) in enumerate(values):
            ids_BT[row, : len(ids)], labels_BT[row, : len(ids)] = ids, labels
            mask_BT[row, : len(ids)] = 1
        pixels = [each for _, _, each in values if each is not None]
        return {
            "input_ids": ids_BT,
            "attention_mask": mask_BT,
            "labels": labels_BT,
            "pixel_values": torch.cat(pixels) if pixels else None,
            "pictures": torch.tensor([0 if p is None else len(p) for _, _, p in values]),
        }


def rows_of(inputs: dict[str, Any], rows: slice) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Ids, mask, labels and pixels of some rows, without the padding that only others need."""
    pictures = inputs["pictures"]
    first, count = int(pictures[: rows.start].sum()), int(pictures[rows].sum())
    length = int(inputs["attention_mask"][rows].sum(1).max())
    pixels = inputs["pixel_values"][first : first + count] if count else None
    names = ("input_ids", "attention_mask", "labels")
    ids_BT, mask_BT, labels_BT = (inputs[name][rows, :length] for name in names)
    return ids_BT, mask_BT, labels_BT, pixels


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
