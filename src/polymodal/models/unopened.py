"""What is known of a captioner that is not opened: all that is needed where the cache answers.

Notable: it stands apart from `describing.py`, whose classes a short run has no time to make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from polymodal.models.describing import Captioner
    from polymodal.results import Provenance

__all__ = ["STYLES", "Style", "UnopenedCaptioner"]

Style = Literal["plain", "short", "detailed"]
STYLES: tuple[Style, ...] = ("plain", "short", "detailed")
"""How much a caption says."""


@dataclass(frozen=True)
class UnopenedCaptioner:
    """A captioner whose identity is known without opening it: all that the cache asks for."""

    provenance: Provenance
    open: Callable[[], Captioner]
