"""The three losses that teach a Q-Former to read pictures (BLIP-2's first stage, Li et al. 2023).

Notable: contrast and matching compare a pair with all pairs of the batch. A rank of a distributed
run holds B of them and is given a way to gather the others, so the mean of the ranks' losses is the
loss of the whole batch, and so are the gradients.

Legend of shapes: B pairs held here, A pairs of all ranks, N visual tokens, V their width, Q
queries, S words, D width of the shared space, C vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn.losses import MAX_LOGIT_SCALE
from polymodal.nn.merging import IGNORED
from polymodal.nn.qformer import QFormer

__all__ = ["Gather", "QFormerLosses", "QFormerPretraining"]

Gather = Callable[[Tensor], Tensor]
"""The rows of all ranks, one rank after another, from this rank's; of floats with gradient."""


def _alone(mine: Tensor) -> Tensor:
    return mine


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

    def forward(
        self,
        token_BNV: Tensor,
        ids_BS: Tensor,
        mask_BS: Tensor,
        *,
        gather: Gather = _alone,
        offset: int = 0,
    ) -> QFormerLosses:
        """The losses of the B pairs held here.

        Args:
            token_BNV: the visual tokens of the pictures.
            ids_BS: their texts; the first token sums up ([CLS]). All ranks pad to one length.
            mask_BS: 1 where there is a word; padding stands on the right.
            gather: gives the rows of all ranks, such as `polymodal.training.ranks.gathered`; every
                rank holds equally many. By default these B are the batch.
            offset: where the B pairs stand among the A: rank * B.

        Raises:
            ValueError: one pair only: there is nothing to contrast it with; an offset that does not
                fit what was gathered.
        """
        query_BQD, text_BD = self.image_vectors(token_BNV), self.text_vectors(ids_BS, mask_BS)
        query_AQD, text_AD = gather(query_BQD), gather(text_BD)
        pairs, everyone = len(text_BD), len(text_AD)
        if everyone < 2:
            raise ValueError("contrast and matching compare pairs: raise the batch to two or more")
        if not 0 <= offset <= everyone - pairs:
            raise ValueError(
                f"{pairs} pairs at offset {offset} do not lie within {everyone}: give `gather` and "
                "the offset rank * pairs together"
            )
        to_text_BA = _best(query_BQD, text_AD)
        to_image_BA = _best(query_AQD, text_BD).T
        own_B = offset + torch.arange(pairs, device=ids_BS.device)
        return QFormerLosses(
            itc=self._contrast(to_text_BA, to_image_BA, own_B),
            itm=self._matching(
                to_text_BA.detach(),
                to_image_BA.detach(),
                own_B,
                (token_BNV, ids_BS, mask_BS),
                (gather(token_BNV), gather(ids_BS), gather(mask_BS)),
            ),
            lm=self._writing(token_BNV, ids_BS, mask_BS, gather),
        )

    def similarity(self, token_BNV: Tensor, ids_BS: Tensor, mask_BS: Tensor) -> Tensor:
        """The cosine of each picture's best query with each text: (pictures, texts)."""
        return _best(self.image_vectors(token_BNV), self.text_vectors(ids_BS, mask_BS))

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

    def _contrast(self, to_text_BA: Tensor, to_image_BA: Tensor, own_B: Tensor) -> Tensor:
        scale, smoothing = self.logit_scale.exp(), self.label_smoothing
        to_text = F.cross_entropy(to_text_BA * scale, own_B, label_smoothing=smoothing)
        to_image = F.cross_entropy(to_image_BA * scale, own_B, label_smoothing=smoothing)
        return (to_text + to_image) / 2

    def _matching(
        self,
        to_text_BA: Tensor,
        to_image_BA: Tensor,
        own_B: Tensor,
        here: tuple[Tensor, Tensor, Tensor],
        everyone: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        """Each pair against two that look alike: another text, and another picture."""
        token_BNV, ids_BS, mask_BS = here
        token_ANV, ids_AS, mask_AS = everyone
        text_B, image_B = self._stranger(to_text_BA, own_B), self._stranger(to_image_BA, own_B)
        logit_T2 = self.matching(
            torch.cat([token_BNV, token_BNV, token_ANV[image_B]]),
            torch.cat([ids_BS, ids_AS[text_B], ids_BS]),
            torch.cat([mask_BS, mask_AS[text_B], mask_BS]),
        )
        belongs_T = torch.zeros(len(logit_T2), dtype=torch.long, device=ids_BS.device)
        belongs_T[: len(ids_BS)] = 1
        return F.cross_entropy(logit_T2, belongs_T)

    def _stranger(self, similarity_BA: Tensor, own_B: Tensor) -> Tensor:
        """For each one of the others, drawn the likelier the more alike."""
        logit_BA = similarity_BA * self.logit_scale.detach().exp()
        share_BA = logit_BA.scatter(1, own_B[:, None], -torch.inf).softmax(1)
        return torch.multinomial(share_BA, 1).squeeze(1)

    def _writing(
        self, token_BNV: Tensor, ids_BS: Tensor, mask_BS: Tensor, gather: Gather
    ) -> Tensor:
        begun_BS = ids_BS.clone()
        begun_BS[:, 0] = self.begin
        logit_BCS = self.writing(token_BNV, begun_BS, mask_BS)[:, :-1].transpose(1, 2)
        wanted_BS = ids_BS.masked_fill(mask_BS == 0, IGNORED)[:, 1:]
        summed = F.cross_entropy(logit_BCS, wanted_BS, ignore_index=IGNORED, reduction="sum")
        # A word counts alike on whichever rank it stands, however many words that rank has.
        words_A = gather((wanted_BS != IGNORED).sum(1))
        return summed * (len(words_A) / len(ids_BS)) / words_A.sum()


def _best(query_PQD: Tensor, text_TD: Tensor) -> Tensor:
    """The cosine of each picture's best query with each text: (pictures, texts)."""
    return (query_PQD @ text_TD.T).amax(1)
