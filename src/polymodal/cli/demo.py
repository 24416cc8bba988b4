"""`polymodal demo`: every kind of question once, each with the command that asks it.

Notable: one suite answers all steps in process; the commands shown give the same results in a
shell. A second run finds its pictures and its collection and only asks again.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.common import find_inputs, name_the_starter, open_suite, succeeded
from polymodal.cli.found import added_words, print_groups, print_result
from polymodal.cli.options import Device, Json, Model, Quiet
from polymodal.cli.output import Output
from polymodal.cli.sort import print_classes, print_verdicts
from polymodal.errors import ModelUnavailable, SpaceMismatch

if TYPE_CHECKING:
    from polymodal.cli.demo_data import DemoFolders
    from polymodal.cli.pages import Section
    from polymodal.search import Collection
    from polymodal.suite import Suite

__all__ = ["demo"]

CLASSES = [
    "a cat",
    "a person",
    "a building",
    "a flower",
    "a motorcycle",
    "a cup of coffee",
    "a night sky",
]
QUERY, CHEAP = "a man with a camera", "dress under 2000 rupees"
FILTER = "category in ('bag', 'sneaker') and price < 3000"
QUESTIONS = ["Is there a cat?", "What is the man holding?", "What is the total?"]
ASKED_OF = ("chelsea.png", "camera.png")
SHOWN = 5
UNKNOWN = 0.4
PAGE_TITLE = "polymodal demo"
LEAD = (
    "Real photographs and a small shop, searched by words and by picture, filtered, sorted,"
    " checked, cleaned of copies and asked about, and a receipt read, by models that ship with the"
    " package."
    " Above each answer stands the command that gives it."
)


@dataclass
class _Tour:
    """What the steps share."""

    suite: Suite
    folders: DemoFolders
    out: Output
    sections: list[Section] = field(default_factory=list)

    def say(self, title: str, *command: Any) -> str:
        """Announce a step; returns its command line."""
        line = " ".join(["polymodal", *(_quoted(str(word)) for word in command)])
        self.out.text()
        self.out.text(f"== {title}")
        self.out.text(f"$ {line}")
        return line


def demo(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="Pictures, collection and page.")
    ] = "demo-out",
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """See it all on real photographs.

    Builds a collection, searches, filters, sorts, and writes a page of the results.

    With --json prints {"page", "collection", "items", "seconds"}.
    """
    from polymodal.cli.demo_data import prepare
    from polymodal.cli.pages import write_page

    start = time.perf_counter()
    out = Output(as_json=json, quiet=quiet)
    root = Path(output)
    folders = prepare(root)
    tour = _Tour(open_suite(model, device), folders, _Nothing() if json else out)
    with tour.suite.collection(root / "collection") as shop:
        _build(tour, shop)
        _search(tour, shop)
        if folders.spoken.exists():
            _ask_aloud(tour, shop)
        items = shop.info().items
    _sort(tour)
    _find_copies(tour)
    _read_receipt(tour)
    _ask(tour)
    if folders.clip.exists():
        _watch(tour)
    page = root / "index.html"
    write_page(str(page), PAGE_TITLE, tour.sections, heading="What was found", lead=LEAD)
    seconds = time.perf_counter() - start
    out.line(
        {
            "page": str(page),
            "collection": str(root / "collection"),
            "items": items,
            "seconds": round(seconds, 3),
        }
    )
    _farewell(tour, page, seconds)
    name_the_starter(model, out)


def _quoted(word: str) -> str:
    """For a POSIX shell, in double quotes where those do, which read better."""
    plain = shlex.quote(word)
    return f'"{word}"' if plain != word and not set(word) & set('"$`\\!') else plain


class _Nothing(Output):
    """Swallows the steps' output, so that `--json` prints its one line."""

    def __init__(self) -> None:
        super().__init__(as_json=False, quiet=True)

    def text(self, text: str = "") -> None:
        """Nothing."""

    def table(self, columns: Any, rows: Any, **layout: Any) -> None:
        """Nothing."""


def _build(tour: _Tour, shop: Collection) -> None:
    from polymodal.cli.demo_products import METADATA_FILE

    pictures, table = tour.folders.photos.parent, tour.folders.shop / METADATA_FILE
    tour.say(
        "Build a collection: real photographs, and products with a table of prices",
        "add", pictures, "--metadata", table, "-c", tour.folders.root / "collection",
    )  # fmt: skip
    _add(tour, shop, [pictures], metadata=table)


def _add(tour: _Tour, collection: Collection, paths: list[Path], **options: Any) -> None:
    from polymodal.cli.progress import progress

    with progress(tour.out, "adding") as meter:
        try:
            report = collection.add(paths, progress=meter.stage, **options)
        except SpaceMismatch:  # an earlier run was answered by another model, or an older one
            collection.reembed(tour.suite.embedder(), drop_missing=True, progress=meter.stage)
            report = collection.add(paths, progress=meter.stage, **options)
    for error in report.errors:
        tour.out.fail(error)
    tour.out.text(added_words(report))


def _search(tour: _Tour, shop: Collection) -> None:
    from polymodal.cli.result_pages import search_section

    where = tour.folders.root / "collection"
    wanted = tour.folders.wanted
    steps: list[tuple[str, str, list[Any], dict[str, Any]]] = [
        ("words", "Search by words", [QUERY], {"text": QUERY}),
        ("picture", "Search by a picture that is not in it", ["--image", wanted],
         {"image": wanted}),
        ("price", "A price in the query becomes a filter", [CHEAP], {"text": CHEAP}),
        ("filter", "Filters can be written out, too", ["something red", "--where", FILTER],
         {"text": "something red", "where": FILTER}),
    ]  # fmt: skip
    for name, title, words, options in steps:
        command = tour.say(title, "search", *words, "-c", where, "-k", SHOWN)
        result = shop.search(k=SHOWN, **options)
        print_result(result, tour.out)
        picture = str(wanted) if "image" in options else ""
        tour.sections.append(
            search_section(result, name=name, heading=title, command=command, picture=picture)
        )


def _ask_aloud(tour: _Tour, shop: Collection) -> None:
    from polymodal.cli.result_pages import search_section

    where, spoken = tour.folders.root / "collection", tour.folders.spoken
    title = "Ask aloud: speech is a query, too"
    command = tour.say(title, "search", "--audio", spoken, "-c", where, "-k", SHOWN)
    result = shop.search(audio=spoken, k=SHOWN)
    print_result(result, tour.out)
    tour.sections.append(search_section(result, name="voice", heading=title, command=command))


def _ask(tour: _Tour) -> None:
    from polymodal.cli.describe import print_answers
    from polymodal.cli.result_pages import answers_section

    try:
        tour.suite.captioner()
    except ModelUnavailable as error:
        tour.out.note(f"left out: questions. {error}")
        return
    files = [tour.folders.photos / name for name in ASKED_OF]
    if tour.folders.receipt.exists():
        files.append(tour.folders.receipt)
    questions = [word for question in QUESTIONS for word in ("-q", question)]
    title = 'Ask: an answer with its reason, or "not sure"'
    command = tour.say(title, "ask", *files, *questions)
    answers = tour.suite.ask(files, QUESTIONS)
    found = print_answers(succeeded(answers, tour.out), tour.out)
    tour.sections.append(answers_section(found, name="answers", heading=title, command=command))


def _watch(tour: _Tour) -> None:
    from polymodal.cli.demo_speech import timeline_cards
    from polymodal.cli.listen import print_timeline

    title = "Watch a video: its scenes, and what is said in them"
    command = tour.say(title, "watch", tour.folders.clip)
    timeline = tour.suite.watch(tour.folders.clip)
    print_timeline(timeline, tour.out)
    tour.sections.append(timeline_cards(timeline, name="video", heading=title, command=command))


def _sort(tour: _Tour) -> None:
    from polymodal.cli.result_pages import classification_section, moderation_section

    photos, uploads = tour.folders.photos, tour.folders.uploads
    labels = [word for label in CLASSES for word in ("-l", label)]
    title = "Sort photographs into classes that are only named"
    command = tour.say(title, "classify", photos, *labels, "--unknown", UNKNOWN)
    files = find_inputs([str(photos)]).files
    classes = print_classes(
        succeeded(tour.suite.classify(files, CLASSES, unknown=UNKNOWN), tour.out), tour.out
    )
    tour.sections.append(
        classification_section(classes, name="classes", heading=title, command=command)
    )
    title = "Check what a seller sent: measured sharpness and light, and what the model sees"
    command = tour.say(title, "moderate", uploads, "--policy", "photo-quality")
    files = find_inputs([str(uploads)]).files
    verdicts = print_verdicts(succeeded(tour.suite.moderate(files), tour.out), tour.out)
    tour.sections.append(
        moderation_section(verdicts, name="moderation", heading=title, command=command)
    )


def _find_copies(tour: _Tour) -> None:
    from polymodal.cli.result_pages import duplicates_section

    where = tour.folders.root / "with-copies"
    title = "Find copies: re-encoded, resized, cropped"
    tour.say(title, "add", tour.folders.photos, tour.folders.copies, "-c", where)
    with tour.suite.collection(where) as album:
        _add(tour, album, [tour.folders.photos, tour.folders.copies])
        command = tour.say("... and group them", "duplicates", "-c", where)
        groups = album.duplicates()
    print_groups(groups, tour.out)
    tour.sections.append(duplicates_section(groups, name="copies", heading=title, command=command))


def _read_receipt(tour: _Tour) -> None:
    from polymodal.cli.demo_receipt import can_read, receipt_section
    from polymodal.cli.documents import print_fields, print_lines

    if not can_read():
        tour.out.note("left out: a receipt. To have it: pip install 'polymodal[documents]'")
        return
    receipt = tour.folders.receipt
    tour.say("Read a receipt", "read", receipt)
    reading = tour.suite.read(receipt)
    print_lines(reading, tour.out)
    title = "From a receipt to data: each field with its confidence and the line it stands on"
    command = tour.say(title, "extract", receipt)
    found = tour.suite.extract(receipt)
    print_fields(found, tour.out)
    tour.sections.append(
        receipt_section(reading, found, name="receipt", heading=title, command=command)
    )


def _farewell(tour: _Tour, page: Path, seconds: float) -> None:
    out = tour.out
    out.text()
    out.text(f"Done in {seconds:.1f} s. All of it with pictures: {page.resolve()}")
    out.text()
    out.text("Now yours:")
    out.text("  polymodal add ~/Pictures")
    out.text('  polymodal search "children playing in the snow" --html found.html')
    out.text("  polymodal --help")
