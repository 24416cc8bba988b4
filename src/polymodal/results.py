"""What the verbs return: frozen dataclasses that say where they come from.

Notable: a failed item of a batch is an `ItemError` in its place, so results line up with inputs;
`Space` is the identity of a vector space, and two spaces never mix (`SpaceMismatch`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from polymodal.errors import Attempt, ItemsFailed, MediaError, SpaceMismatch

if TYPE_CHECKING:  # answers from the cache need no vectors
    import numpy as np
    from numpy.typing import NDArray

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

if TYPE_CHECKING:
    Vector: TypeAlias = NDArray[np.float32]


def __getattr__(name: str) -> Any:
    """`Vector` while the program runs: numpy is loaded where somebody asks for it."""
    if name != "Vector":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import numpy as np
    from numpy.typing import NDArray

    return NDArray[np.float32]


@dataclass(frozen=True)
class Space:
    """The identity of a vector space; vectors are comparable only when fingerprints agree.

    Attributes:
        model: the model's id, e.g. `starter`.
        revision: what exactly was loaded (a digest of the weights).
        dimension: length of a vector.
        preprocessing: how media become model input, in words that change when it changes.
        prompt: version of the text side's formatting.
    """

    model: str
    revision: str
    dimension: int
    preprocessing: str = ""
    prompt: str = ""

    @property
    def fingerprint(self) -> str:
        """16 hex digits over every attribute."""
        packed = json.dumps(asdict(self), sort_keys=True).encode()
        return hashlib.sha256(packed).hexdigest()[:16]

    def require_same(self, other: Space, doing: str, remedy: str) -> None:
        """Raise `SpaceMismatch` unless `other` is this space.

        Args:
            doing: what was attempted, e.g. "search collection 'shop'".
            remedy: what the user can do, e.g. a command that re-embeds.
        """
        if self.fingerprint != other.fingerprint:
            raise SpaceMismatch(
                f"cannot {doing}: its vectors are {self.describe()}, these are {other.describe()}."
                f" {remedy}"
            )

    def describe(self) -> str:
        """One short phrase for messages and tables."""
        return f"{self.model}@{self.revision} ({self.dimension}-d, space {self.fingerprint})"

    def to_dict(self) -> dict[str, Any]:
        """The attributes and the fingerprint, as JSON values."""
        return {**asdict(self), "fingerprint": self.fingerprint}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Space:
        """The inverse of `to_dict`."""
        return cls(**{key: value for key, value in data.items() if key != "fingerprint"})


@dataclass(frozen=True)
class Provenance:
    """Which model answered, at which revision, and with which prompts."""

    model: str
    revision: str
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ItemError:
    """An input that failed, in the place of its result.

    Attributes:
        input: the input as the caller named it.
        reason: one sentence for a person.
        kind: the exception's class name, for programs.
        attempts: of an answer that did not fit its schema: every one that was given, in order.
    """

    input: str
    reason: str
    kind: str
    attempts: tuple[Attempt, ...] = ()

    @classmethod
    def of(cls, name: str, error: Exception) -> ItemError:
        """From an exception caught while working on `name`."""
        reason = error.reason if isinstance(error, MediaError) else str(error)
        kind = type(error).__name__
        return cls(name, reason or kind, kind, getattr(error, "attempts", ()))


@dataclass(frozen=True)
class Embedding:
    """One L2-normalised vector, float32, shape (dimension,)."""

    input: str
    modality: Literal["image", "text", "audio"]
    vector: Vector


@dataclass(frozen=True)
class Embeddings:
    """Vectors in input order (images, then texts, then audio) and the space they live in."""

    space: Space
    items: tuple[Embedding | ItemError, ...]

    @property
    def errors(self) -> tuple[ItemError, ...]:
        """The items that failed."""
        return tuple(item for item in self.items if isinstance(item, ItemError))

    @property
    def vectors(self) -> Vector:
        """All vectors, float32, shape (len(self), dimension).

        Raises:
            ItemsFailed: when an item failed, since rows would no longer line up with inputs.
        """
        if self.errors:
            first = self.errors[0]
            raise ItemsFailed(
                f"{len(self.errors)} of {len(self.items)} items failed, first {first.input}:"
                f" {first.reason} Use .valid() for the rows that succeeded and their positions."
            )
        return self.valid()[1]

    def valid(self) -> tuple[list[int], Vector]:
        """Positions of the items that succeeded and their vectors, shape (n, dimension)."""
        import numpy as np

        good = [
            (i, item.vector) for i, item in enumerate(self.items) if isinstance(item, Embedding)
        ]
        if not good:
            return [], np.zeros((0, self.space.dimension), np.float32)
        return [i for i, _ in good], np.stack([vector for _, vector in good])

    def similarity(self, other: Embeddings) -> Vector:
        """Cosine of every pair, float32, shape (len(self), len(other)).

        Raises:
            SpaceMismatch: when the two live in different spaces.
            ItemsFailed: when either holds a failed item.
        """
        self.space.require_same(
            other.space, "compare embeddings", "Embed both with the same model."
        )
        cosine: Vector = self.vectors @ other.vectors.T
        return cosine

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Classification:
    """The label of a picture; `label` is None where nothing reached the `unknown` threshold."""

    input: str
    label: str | None
    score: float
    scores: Mapping[str, float]
    provenance: Provenance
    labels: tuple[str, ...] = ()
    """Multi-label mode: every label over the threshold, best first."""


@dataclass(frozen=True)
class CaptionCandidate:
    """A caption that was considered; `score` and `fit` as in `Caption`."""

    text: str
    score: float | None
    fit: float | None = None


@dataclass(frozen=True)
class Caption:
    """A sentence about a picture.

    Attributes:
        score: how sure the model is of its words: their geometric mean probability, 0..1. It
            compares captions of one model; it is not the probability of being right. None where
            the model does not tell.
        candidates: best first; the first is the caption.
        fit: probability, by the embedder, that the caption fits the picture, as `match` gives it.
            None where there was no embedder to look.
    """

    input: str
    text: str
    score: float | None
    candidates: tuple[CaptionCandidate, ...]
    provenance: Provenance
    fit: float | None = None


@dataclass(frozen=True)
class Match:
    """Probability that a text fits a picture; `matches` is set when a threshold was given."""

    input: str
    text: str
    probability: float
    cosine: float
    provenance: Provenance
    matches: bool | None = None


@dataclass(frozen=True)
class Finding:
    """What one criterion of a policy found: a score in 0..1 against its threshold."""

    criterion: str
    score: float
    threshold: float
    passed: bool
    explanation: str


@dataclass(frozen=True)
class Verdict:
    """A moderation result.

    Attributes:
        criterion: the criterion that decided.
        margin: how far its score lies from its threshold; positive when approved.
    """

    input: str
    approved: bool
    criterion: str
    margin: float
    findings: tuple[Finding, ...]
    policy: str
    provenance: Provenance

    @property
    def scores(self) -> dict[str, float]:
        """Score of every criterion, 0..1."""
        return {finding.criterion: finding.score for finding in self.findings}


@dataclass(frozen=True)
class ProbeReport:
    """What training a linear probe found."""

    labels: tuple[str, ...]
    images: Mapping[str, int]
    accuracy: float
    """Cross-validated."""
    interval: tuple[float, float]
    """95 % interval of the accuracy."""
    errors: tuple[ItemError, ...]
    provenance: Provenance


@dataclass(frozen=True)
class Hit:
    """An item found. `score` is what ranks; `similarity` the cosine where a vector was compared.

    Where hits were ordered anew, `score` is of what did that, and `first_score` of the search.
    """

    id: str
    path: str
    score: float
    metadata: Mapping[str, Any]
    similarity: float | None = None
    relevant: bool | None = None
    first_score: float | None = None


@dataclass(frozen=True)
class SearchResult:
    """Hits best first, and what was understood of the query.

    Attributes:
        notes: what was inferred, for a person ("price < 2000, read from 'under 2000 rupees'").
        where: the filter that was applied, as an expression; empty when none.
        ranked_by: what ordered the first hits anew; None where the search alone ranks.
    """

    query: str
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
    where: str = ""
    ranked_by: Provenance | None = None

    def __iter__(self) -> Any:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True)
class DuplicateGroup:
    """Items that show the same picture; the first is the one to keep (most pixels, then bytes)."""

    hits: tuple[Hit, ...]
    similarity: float
    """The lowest similarity of a member to the first."""


@dataclass(frozen=True)
class AddReport:
    """What `Collection.add` did."""

    added: int = 0
    updated: int = 0
    """Known pictures whose metadata or path changed."""
    skipped: int = 0
    removed: int = 0
    seconds: float = 0.0
    errors: tuple[ItemError, ...] = field(default=())
    notes: tuple[str, ...] = ()
    """What did not fit together, for a person (rows of a table that match no picture)."""
    dropped: tuple[ItemError, ...] = ()
    """Removed as asked, because their picture can no longer be opened; they are no failures."""

    @property
    def failed(self) -> int:
        """Number of inputs that failed."""
        return len(self.errors)

    def to_dict(self) -> dict[str, Any]:
        """The counters, as the last JSON line of `polymodal add` gives them."""
        return {
            "added": self.added,
            "updated": self.updated,
            "skipped": self.skipped,
            "failed": self.failed,
            "removed": self.removed,
            "seconds": round(self.seconds, 3),
        }


def as_inputs(value: Any) -> Sequence[Any]:
    """One input or a sequence of inputs, as a sequence: `str`, `bytes` and arrays are one input."""
    if isinstance(value, (list, tuple)):
        return value
    return [value]
