"""The three losses that teach a Q-Former to read pictures (BLIP-2's first stage, Li et al. 2023).

Legend of shapes: B pairs, N visual tokens, V their width, Q queries, S words, D width of the shared
space, C vocabulary.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn.losses import MAX_LOGIT_SCALE
from polymodal.nn.merging import IGNORED
from polymodal.nn.qformer import QFormer

__all__ = ["QFormerLosses", "QFormerPretraining"]


class QFormerLosses(NamedTuple):
    """In nats; BLIP-2 trains on their sum."""

    itc: Tensor  # contrast: which text of the batch belongs to which picture
    itm: Tensor  # matching: does this text belong to this picture
    lm: Tensor  # writing: the next word

    @property
    def total(self) -> Tensor:
        return self.itc + self.itm + self.lm


class QFormerPretraining(nn.Module):
    """A Q-Former with the heads of its first stage.

    Args:
        qformer: with words.
        begin: the id that stands for the first token when the text is written ([DEC] in BLIP-2):
            it tells the model to write and not to sum up.
        width: D, where pictures and texts are compared; 256 in BLIP-2.
        label_smoothing: of the contrast; 0.1 in BLIP-2.
    """

    def __init__(
        self, qformer: QFormer, *, begin: int, width: int = 256, label_smoothing: float = 0.1
    ) -> None:
        super().__init__()
        inner = qformer.query.shape[1]
        vocabulary = qformer.embedding.num_embeddings
        self.qformer = qformer
        self.begin = begin
        self.label_smoothing = label_smoothing
        self.image_projection = nn.Linear(inner, width)
        self.text_projection = nn.Linear(inner, width)
        self.match = nn.Linear(inner, 2)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.write = nn.Sequential(
            nn.Linear(inner, inner), nn.GELU(), nn.LayerNorm(inner, eps=1e-12)
        )
        self.words = nn.Linear(inner, vocabulary)
        self.words.weight = qformer.embedding.weight  # tied, as BERT's

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep the factor of the contrast between 1 and 100, after each step of the optimiser."""
        self.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)

    def forward(self, token_BNV: Tensor, ids_BS: Tensor, mask_BS: Tensor) -> QFormerLosses:
        """The losses of B pairs.

        Args:
            token_BNV: the visual tokens of the pictures.
            ids_BS: their texts; the first token sums up ([CLS]).
            mask_BS: 1 where there is a word; padding stands on the right.

        Raises:
            ValueError: one pair only: there is nothing to contrast it with.
        """
        if len(token_BNV) < 2:
            raise ValueError("contrast and matching compare pairs: raise the batch to two or more")
        similarity_BB = self.similarity(token_BNV, ids_BS, mask_BS)
        return QFormerLosses(
            itc=self._contrast(similarity_BB * self.logit_scale.exp()),
            itm=self._matching(similarity_BB.detach(), token_BNV, ids_BS, mask_BS),
            lm=self._writing(token_BNV, ids_BS, mask_BS),
        )

    def similarity(self, token_BNV: Tensor, ids_BS: Tensor, mask_BS: Tensor) -> Tensor:
        """The cosine of each picture's best query with each text: (pictures, texts)."""
        text_BD = self.text_vectors(ids_BS, mask_BS)
        return (self.image_vectors(token_BNV) @ text_BD.T).amax(1)

    def image_vectors(self, token_BNV: Tensor) -> Tensor:
        """Unit vectors (B, Q, D), one a query."""
        return F.normalize(self.image_projection(self.qformer.look(token_BNV)), dim=-1)

    def text_vectors(self, ids_BS: Tensor, mask_BS: Tensor) -> Tensor:
        """Unit vectors (B, D) of what the first token sums up."""
        word_BSW = self.qformer.read(ids_BS, mask_BS)
        return F.normalize(self.text_projection(word_BSW[:, 0]), dim=-1)

    def matching(self, token_BNV: Tensor, ids_BS: Tensor, mask_BS: Tensor) -> Tensor:
        """Logits (B, 2) of "does not belong", "belongs", averaged over the queries."""
        query_BQW, _ = self.qformer.look_and_read(token_BNV, ids_BS, mask_BS)
        logit_B2: Tensor = self.match(query_BQW).mean(1)
        return logit_B2

    def writing(self, token_BNV: Tensor, ids_BS: Tensor, mask_BS: Tensor | None = None) -> Tensor:
        """Logits (B, S, C) of the word after each, given the picture and the words before."""
        _, word_BSW = self.qformer.look_and_read(token_BNV, ids_BS, mask_BS, causal=True)
        logit_BSC: Tensor = self.words(self.write(word_BSW))
        return logit_BSC

    def _contrast(self, logit_BB: Tensor) -> Tensor:
        own_B = torch.arange(len(logit_BB), device=logit_BB.device)
        smoothing = self.label_smoothing
        to_text = F.cross_entropy(logit_BB, own_B, label_smoothing=smoothing)
        to_image = F.cross_entropy(logit_BB.T, own_B, label_smoothing=smoothing)
        return (to_text + to_image) / 2

    def _matching(
        self, similarity_BB: Tensor, token_BNV: Tensor, ids_BS: Tensor, mask_BS: Tensor
    ) -> Tensor:
        """Each pair against two that look alike: another text, and another picture."""
        pairs = len(ids_BS)
        logit_BB = (similarity_BB * self.logit_scale.detach().exp()).fill_diagonal_(-torch.inf)
        text_B = torch.multinomial(logit_BB.softmax(1), 1).squeeze(1)
        image_B = torch.multinomial(logit_BB.T.softmax(1), 1).squeeze(1)
        logit_T2 = self.matching(
            torch.cat([token_BNV, token_BNV, token_BNV[image_B]]),
            torch.cat([ids_BS, ids_BS[text_B], ids_BS]),
            torch.cat([mask_BS, mask_BS[text_B], mask_BS]),
        )
        belongs_T = torch.zeros(3 * pairs, dtype=torch.long, device=ids_BS.device)
        belongs_T[:pairs] = 1
        return F.cross_entropy(logit_T2, belongs_T)

    def _writing(self, token_BNV: Tensor, ids_BS: Tensor, mask_BS: Tensor) -> Tensor:
        begun_BS = ids_BS.clone()
        begun_BS[:, 0] = self.begin
        logit_BCS = self.writing(token_BNV, begun_BS, mask_BS)[:, :-1].transpose(1, 2)
        wanted_BS = ids_BS.masked_fill(mask_BS == 0, IGNORED)[:, 1:]
        return F.cross_entropy(logit_BCS, wanted_BS, ignore_index=IGNORED)
