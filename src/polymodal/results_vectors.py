"""What `embed` returns: vectors, and the space that they live in; two spaces never mix."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from polymodal.errors import ItemsFailed, SpaceMismatch
from polymodal.results_core import ItemError

if TYPE_CHECKING:  # answers from the cache need no vectors
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Embedding", "Embeddings", "Space", "Vector"]

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
