"""What the verbs return: frozen dataclasses that say where they come from.

Notable: a failed item of a batch is an `ItemError` in its place, so results line up with inputs;
`Space` is the identity of a vector space, and two spaces never mix (`SpaceMismatch`). A name is
imported from its file when it is first used, so that a short run makes no classes but its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal.results_captions import Caption, CaptionCandidate
    from polymodal.results_core import ItemError, Provenance
    from polymodal.results_search import AddReport, DuplicateGroup, Hit, SearchResult
    from polymodal.results_sorting import Classification, Finding, Match, ProbeReport, Verdict
    from polymodal.results_vectors import Embedding, Embeddings, Space, Vector

__all__ = [
    "AddReport",
    "Caption",
    "CaptionCandidate",
    "Classification",
    "DuplicateGroup",
    "Embedding",
    "Embeddings",
    "Finding",
    "Hit",
    "ItemError",
    "Match",
    "ProbeReport",
    "Provenance",
    "SearchResult",
    "Space",
    "Vector",
    "Verdict",
]

_FILES = {
    "captions": ("Caption", "CaptionCandidate"),
    "core": ("ItemError", "Provenance"),
    "search": ("AddReport", "DuplicateGroup", "Hit", "SearchResult"),
    "sorting": ("Classification", "Finding", "Match", "ProbeReport", "Verdict"),
    "vectors": ("Embedding", "Embeddings", "Space", "Vector"),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"polymodal.results_{_FILE_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
