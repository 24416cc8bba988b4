"""What commands share whose answers a generator behind an API may write: stream, cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from polymodal.catalog.names import is_api_name, is_generator_name
from polymodal.cli.extending import extended
from polymodal.cli.options import MaxTokens, Seed, Stop, Temperature
from polymodal.cli.output import Output, printable
from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.models.messages import GenerationOptions
    from polymodal.suite import Suite

__all__ = [
    "Told",
    "describe_cost",
    "name_the_cost",
    "no_budget_for",
    "told",
    "wished",
    "writes_answers",
]

Item = TypeVar("Item")

ANSWERS: dict[str, tuple[Any, Any]] = {
    "max_tokens": (MaxTokens, None),
    "temperature": (Temperature, None),
    "seed": (Seed, None),
    "stop": (Stop, None),
}
_asked: ContextVar[dict[str, Any] | None] = ContextVar("_asked", default=None)


class Told:
    """Prints answers while they come, each after the name of its picture.

    Attributes:
        names: of pictures whose answers were printed.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._open = False

    def __call__(self, name: str, piece: str) -> None:
        """See `polymodal.runtime.streamed.StreamedGenerator`."""
        if not piece:
            if self._open:
                print(flush=True)
            self._open = False
            return
        if not self._open:
            print(f"{printable(name)}: ", end="")
            self._open = True
            self.names.add(name)
        print(printable(piece, keep_newlines=True), end="", flush=True)


def told(suite: Suite, model: str, out: Output, *, stream: bool) -> tuple[Any, Told | None]:
    """The generator to hand to a verb for `--stream`, and what it tells; None without it.

    Raises:
        UsageError: the model does not stream, or `--json` has no place for pieces.
    """
    if not stream:
        return None, None
    if out.as_json:
        raise UsageError("--stream prints words as they come; it does not go with --json.")
    if not is_generator_name(model):
        raise UsageError(
            f"{model} says its answer at once. --stream goes with -m openai:MODEL, anthropic:MODEL,"
            " gemini:MODEL, or a checkpoint that writes."
        )
    from polymodal.runtime.streamed import StreamedGenerator

    teller = Told()
    return StreamedGenerator(suite.generator(model), teller), teller


def no_budget_for(model: str, budget: float | None) -> None:
    """Refuse a budget for what costs nothing.

    Raises:
        UsageError: the model is none behind an API.
    """
    if budget is not None and not is_api_name(model):
        raise UsageError(f"{model} costs nothing; --budget goes with models such as openai:MODEL.")


def writes_answers(function: Callable[..., None]) -> Callable[..., None]:
    """The command with `--max-tokens` and the like after `--model`; read by `wished`."""

    @contextmanager
    def entered(chosen: dict[str, Any]) -> Iterator[None]:
        token = _asked.set(chosen)
        try:
            yield
        finally:
            _asked.reset(token)

    return extended(function, ANSWERS, "model", entered)


def wished(own: Callable[[], GenerationOptions]) -> GenerationOptions | None:
    """What the command line changes in the verb's own options; None where it changes nothing."""
    changes = {name: value for name, value in (_asked.get() or {}).items() if value is not None}
    if not changes.get("temperature"):  # greedy: the same every time, whatever the seed
        changes.pop("seed", None)
    if stop := changes.pop("stop", None):
        changes["stop"] = tuple(stop)
    return own().replace(**changes) if changes else None


def name_the_cost(suite: Suite, model: str, out: Output, items: Iterable[Item]) -> Iterator[Item]:
    """`items`, and after them what they cost, on stderr."""
    try:
        yield from items
    finally:
        if is_api_name(model):
            describe_cost(suite, out)


def describe_cost(suite: Suite, out: Output) -> None:
    """What answers of paid models cost, on stderr; nothing where none was asked."""
    if text := suite.spending.describe():
        out.note(f"cost: {text}")
