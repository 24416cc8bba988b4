"""Work that does not fit into memory: room is made once, then it is done in halves.

Notable: the failed attempt is over before the next one begins, so that what its frames held is
free. torch says "out of memory" with an exception of its own on accelerators, and with a plain
RuntimeError on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from polymodal.errors import NotEnoughMemory
from polymodal.models.resident import Resident

__all__ = ["in_memory", "is_out_of_memory"]

Item = TypeVar("Item")
Result = TypeVar("Result")

SAID = ("can't allocate memory", "not enough memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that a device, or the machine, had no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in SAID)


def in_memory(
    run: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    part: Resident[Any],
    what: str,
) -> list[Result]:
    """`run(items)`, in one go or in smaller ones.

    Args:
        part: what runs; whose keeper makes room.
        what: one item, in words, for the message: "a picture".

    Raises:
        NotEnoughMemory: an item does not fit alone, with everything else unloaded.
    """
    found = _tried(run, items)
    if found is None:
        part.make_room()
        found = _halved(run, items, part, what)
    return found


def _halved(
    run: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    part: Resident[Any],
    what: str,
) -> list[Result]:
    if len(items) == 1:
        found = _tried(run, items)
        if found is None:
            raise NotEnoughMemory(
                f"{part.model or 'the model'} has not enough memory on {part.device()} for {what}"
                " alone, with no other model loaded. What takes less: a smaller picture or text,"
                " fewer tokens (--max-tokens), --dtype bfloat16, --quantize 8bit or 4bit, or"
                " --device cpu."
            )
        return found
    middle = len(items) // 2
    out: list[Result] = []
    for half in (items[:middle], items[middle:]):
        found = _tried(run, half)
        out += _halved(run, half, part, what) if found is None else found
    return out


def _tried(
    run: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> list[Result] | None:
    """None where memory ran out."""
    try:
        return list(run(items))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
