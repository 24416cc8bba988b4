"""What several commands do before and after the suite's part: open it, find files, speak up once.

Notable: the starter is named as a starter once a home folder, on stderr, and never again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from polymodal.cli.loading import asked_for
from polymodal.cli.output import Output
from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.results import ItemError
    from polymodal.suite import Suite

__all__ = [
    "Inputs",
    "doubted",
    "find_inputs",
    "lines_of",
    "name_the_starter",
    "open_suite",
    "probability",
    "succeeded",
    "tracked",
]

STARTER_NOTE = (
    "note: this was `starter`, a small model that runs anywhere. The next one up is CLIP ViT-B/32:"
    " -m openai/clip-vit-base-patch32, see docs/models.md. (Said once.)"
)
Item = TypeVar("Item")


def open_suite(
    model: str,
    device: str,
    *,
    no_cache: bool = False,
    no_journal: bool = False,
    transcriber: str = "starter",
    budget: float | None = None,
) -> Suite:
    """The suite on the models asked for, loaded as asked for; weights are read on first use.

    Args:
        no_cache, no_journal: `--no-cache` and `--no-journal` of a generative verb.
        budget: `--budget`, in US dollars.
    """
    from polymodal.suite import Suite

    loading = asked_for()
    return Suite(
        model,
        device=device,
        cache=not no_cache,
        journal=not no_journal,
        transcriber=transcriber,
        budget_usd=budget,
        memory=loading.memory,
        dtype=loading.dtype,
        quantize=loading.quantize,
        allow_pickle=loading.allow_pickle,
        allow_remote_code=loading.allow_remote_code,
    )


@dataclass(frozen=True)
class Inputs:
    """What the user's paths led to, in order: files, and an error where there is none."""

    found: tuple[Path | ItemError, ...]

    def __len__(self) -> int:
        return len(self.found)

    @property
    def files(self) -> list[Path]:
        """Without the errors."""
        return [item for item in self.found if isinstance(item, Path)]

    def with_errors(self, results: Iterable[Item]) -> Iterator[Item | ItemError]:
        """Results of `files`, in order, with the errors of the others in their places."""
        each = iter(results)
        for item in self.found:
            yield next(each) if isinstance(item, Path) else item


def find_inputs(
    paths: Sequence[str],
    extensions: frozenset[str] | None = None,
    what: str = "pictures",
) -> Inputs:
    """Files behind `paths`: files, folders and globs.

    Args:
        extensions: what a folder yields; pictures by default.
        what: these files' name in messages.

    Raises:
        UsageError: when nothing is there at all: neither a file nor a path that failed.
    """
    from polymodal.media.files import PICTURE_EXTENSIONS, find_files

    found = tuple(find_files(paths, extensions=extensions or PICTURE_EXTENSIONS))
    if not found:
        raise UsageError(f"no {what} in {', '.join(paths)}.")
    return Inputs(found)


def lines_of(file: str) -> list[str]:
    """The lines of a text file that are not blank; `-` is standard input.

    Raises:
        UsageError: when it cannot be read as UTF-8 text.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"cannot read {file}: {reason}.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def succeeded(items: Iterable[Item | ItemError], out: Output) -> Iterator[Item]:
    """The items that did not fail; the others are reported."""
    from polymodal.results import ItemError

    for item in items:
        if isinstance(item, ItemError):
            out.fail(item)
        else:
            yield item


def tracked(items: Iterator[Item], total: int, out: Output, label: str) -> Iterator[Item]:
    """`items`, with progress on stderr while they are consumed."""
    from polymodal.cli.progress import progress

    with progress(out, label) as meter:
        for done, item in enumerate(items, 1):
            yield item
            meter(done, total)


def probability(value: float | None, option: str) -> None:
    """Refuse a threshold that is not a probability.

    Raises:
        UsageError: naming the option.
    """
    if value is not None and not 0.0 <= value <= 1.0:
        raise UsageError(f"{option} is a probability from 0 to 1, not {value:g}.")


def name_the_starter(model: str, out: Output) -> None:
    """Say once, to a person, that the starter is a starter; remembered in the home folder."""
    if model != "starter" or out.as_json or out.quiet:
        return
    from polymodal.runtime.home import default_home

    marker = default_home() / "starter-noted"
    # A home that cannot be written only means that the note comes again.
    with suppress(OSError):
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch(exist_ok=False)
        out.note(STARTER_NOTE)


def doubted(fit: float | None) -> str:
    """What is said of a caption that the embedder does not see in the picture; or ""."""
    from polymodal.tasks.caption import DOUBTED

    return "it may not fit" if fit is not None and fit < DOUBTED else ""
