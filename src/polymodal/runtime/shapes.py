"""Results in the shape of the input: one, a list, or a lazy iterator; failures in their places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from polymodal.errors import PolymodalError

if TYPE_CHECKING:
    from polymodal.media.pictures import ImageInput
    from polymodal.results import ItemError

__all__ = ["gather", "is_one", "lazily", "listed", "only"]

Result = TypeVar("Result")
Failure = PolymodalError


def is_one(images: Any) -> bool:
    """Whether a verb was given one input, not a list or an iterator of them."""
    return not isinstance(images, list | tuple | Iterator)


def gather(images: Any, run: Any) -> Any:
    """Results of `run` in the shape of `images`: one, a list, or an iterator."""
    if isinstance(images, Iterator):
        return lazily(run(images))
    return only(run([images])) if is_one(images) else listed(run(images))


def only(stream: Iterator[tuple[ImageInput, Result | Failure]]) -> Result:
    """The result of one input; its failure is raised."""
    ((_, outcome),) = stream
    if isinstance(outcome, Failure):
        raise outcome
    return outcome


def listed(
    stream: Iterator[tuple[ImageInput, Result | Failure]],
) -> list[Result | ItemError]:
    """All results, failures in their places."""
    return list(lazily(stream))


def lazily(
    stream: Iterator[tuple[ImageInput, Result | Failure]],
) -> Iterator[Result | ItemError]:
    """All results as they come, failures in their places."""
    from polymodal.media.inputs import picture_name
    from polymodal.results import ItemError

    for source, outcome in stream:
        if isinstance(outcome, Failure):
            yield ItemError.of(picture_name(source), outcome)
        else:
            yield outcome
