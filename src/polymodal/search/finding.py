"""What `search` and `similar` do, from the arguments to the hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polymodal.errors import UsageError
from polymodal.media.pictures import ImageInput, picture_name
from polymodal.models.protocols import Calibrated
from polymodal.results import Hit, SearchResult, Vector
from polymodal.runtime.judging import Judge
from polymodal.search.access import Access
from polymodal.search.filters import And, Exists, Filter, describe, field_values, mistyped, unknown
from polymodal.search.manifest import Manifest
from polymodal.search.querytext import understand as understand_text
from polymodal.search.ranking import Example, find_example, mix, move
from polymodal.search.reranking import rerank
from polymodal.search.store import Found, Item, Store

__all__ = ["TOP", "Wanted", "find", "find_similar", "to_hit"]

TOP = 50
"""Hits that are ordered anew, where that is asked for."""


@dataclass(frozen=True)
class Wanted:
    """The arguments of a search; see `Collection.search`."""

    text: str | None
    image: ImageInput | None
    weights: tuple[float, float]
    like: Sequence[ImageInput]
    unlike: Sequence[ImageInput]
    where: Filter | None
    k: int
    offset: int
    hybrid: bool | None
    understand: bool
    relevant: bool
    rerank: Judge | None = None
    top: int = TOP

    def check(self) -> None:
        """Raise `UsageError` unless there is something to search for and `k` makes sense."""
        if self.k < 1 or self.offset < 0:
            raise UsageError(
                f"k must be 1 or more and offset 0 or more, not {self.k}, {self.offset}."
            )
        if self.rerank is not None and (self.top < 1 or not (self.text or "").strip()):
            raise UsageError("reranking needs words to hold pictures against, and 1 hit or more.")
        examples = [*self.like, *self.unlike]
        if not (self.text or "").strip() and self.image is None and not examples:
            raise UsageError("nothing to search for: give a text, a picture, or liked pictures.")

    def text_share(self) -> float:
        """The part of the query that its text is, from 0 to 1; all of it without a picture.

        What its words count for in text fields: else they would outweigh any picture.
        """
        text, image = self.weights
        if self.image is None or not (text or image):
            return 1.0
        return max(text, 0.0) / (abs(text) + abs(image))


def find(access: Access, wanted: Wanted) -> SearchResult:
    """Search by words, by a picture, by both, and by examples."""
    wanted.check()
    store = access.reading()
    manifest = access.folder.manifest()
    text, where, notes = _understood(wanted, manifest, store)
    examples = [find_example(each, store, access.embedder, access.limits) for each in wanted.like]
    unliked = [find_example(each, store, access.embedder, access.limits) for each in wanted.unlike]
    vector = move(
        _query_vector(access, text, wanted),
        [each.vector for each in examples],
        [each.vector for each in unliked],
    )
    hybrid = bool(text) and (bool(manifest.text_fields) if wanted.hybrid is None else wanted.hybrid)
    share = wanted.text_share()
    again = wanted.rerank
    last = wanted.offset + wanted.k
    found = store.query(
        vector,
        wanted.k if again is None else max(last, wanted.top),
        where,
        text=text if hybrid and share > 0 else "",
        text_weight=share,
        exclude=[each.id for each in (*examples, *unliked) if each.id],
        offset=wanted.offset if again is None else 0,
    )
    # The calibration is of texts with pictures: it says nothing of two pictures.
    only_text = bool(text) and wanted.image is None and not examples and not unliked
    cut = _relevant_cosine(access) if only_text else None
    hits = [to_hit(each, cut) for each in found]
    if again is not None:
        hits, told = rerank(again, text, hits, wanted.top)
        hits, notes = hits[wanted.offset : last], (*notes, *told)
    if wanted.relevant:
        if cut is None:
            notes += ("relevance is calibrated for searches by text alone; nothing was cut",)
        hits = [hit for hit in hits if hit.relevant is not False]
    return SearchResult(
        query=_name(wanted),
        hits=tuple(hits),
        notes=notes,
        where=describe(where) if where is not None else "",
        ranked_by=None if again is None else again.provenance,
    )


def find_similar(access: Access, image: ImageInput, k: int, where: Filter | None) -> SearchResult:
    """What looks like a picture, without the picture itself: neither its content nor its path."""
    if k < 1:
        raise UsageError(f"k must be 1 or more, not {k}.")
    store = access.reading()
    example = find_example(image, store, access.embedder, access.limits)
    itself = {example.id} if example.id else set()
    if example.path:
        itself |= {item.id for item in store.at_paths([example.path])}
    found = store.query(example.vector, k, where, exclude=sorted(itself))
    return SearchResult(
        query=example.name,
        hits=tuple(to_hit(each, None) for each in found),
        notes=_misfits(where, access.folder.manifest(), store),
        where=describe(where) if where is not None else "",
    )


def _understood(
    wanted: Wanted, manifest: Manifest, store: Store
) -> tuple[str, Filter | None, tuple[str, ...]]:
    """The text to search by, the filter to apply, and what to tell of how they came about."""
    text = (wanted.text or "").strip()
    notes = _misfits(wanted.where, manifest, store)
    if not text or not wanted.understand:
        return text, wanted.where, notes
    read = understand_text(text, manifest.fields)
    more = _misfits(read.unusable, manifest, store)
    notes += tuple(note for note in more if note not in notes)
    if read.filter is None:
        return text, wanted.where, notes
    where = read.filter if wanted.where is None else And((wanted.where, read.filter))
    return read.text, where, (*notes, *read.notes)


def _misfits(where: Filter | None, manifest: Manifest, store: Store) -> tuple[str, ...]:
    """What to tell of a filter on fields that no item has, or that are of another kind."""
    if where is None:
        return ()

    def example(name: str) -> str | None:
        for item in store.scroll(Exists(name)):
            for value in field_values(item.metadata).get(name, ()):
                if isinstance(value, str):
                    return value
        return None

    notes = unknown(where, manifest.fields)
    return (*notes, *mistyped(where, manifest.fields, example))


def _query_vector(access: Access, text: str, wanted: Wanted) -> Vector | None:
    vectors: list[Vector] = []
    weights: list[float] = []
    if text and wanted.weights[0]:
        vectors.append(access.embedder().embed_texts([text])[0])
        weights.append(wanted.weights[0] if wanted.image is not None else 1.0)
    if wanted.image is not None and (wanted.weights[1] or not vectors):
        store = access.reading()
        example: Example = find_example(wanted.image, store, access.embedder, access.limits)
        vectors.append(example.vector)
        weights.append(wanted.weights[1] if text else 1.0)
    return mix(vectors, weights) if vectors else None


def _relevant_cosine(access: Access) -> float | None:
    model = access.embedder()
    return model.calibration.relevant_cosine if isinstance(model, Calibrated) else None


def _name(wanted: Wanted) -> str:
    if wanted.text:
        return wanted.text
    named = wanted.image if wanted.image is not None else wanted.like[0]
    return picture_name(named)


def to_hit(found: Found, cut: float | None) -> Hit:
    """A hit as results show it; `relevant` needs a calibrated cosine."""
    relevant = None
    if cut is not None and found.similarity is not None:
        # Words that stand in the item's own text are relevant whatever the vector says.
        relevant = found.similarity >= cut or found.words_match
    return Hit(
        id=found.item.id,
        path=found.item.path,
        score=found.score,
        metadata=found.item.metadata,
        similarity=found.similarity,
        relevant=relevant,
    )


def item_hit(item: Item, score: float) -> Hit:
    """An item that was not searched for, as a hit."""
    return Hit(item.id, item.path, score, item.metadata, similarity=score)
