"""Commands on sound and video: transcribe, watch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.common import (
    Inputs,
    doubted,
    find_inputs,
    open_suite,
    succeeded,
    tracked,
)
from polymodal.cli.options import Device, Json, Model, NoCache, NoJournal, Quiet
from polymodal.cli.output import Output
from polymodal.cli.subtitles import ENDINGS, moment, written
from polymodal.errors import StorageError, UsageError

if TYPE_CHECKING:
    from polymodal.results import ItemError, Provenance
    from polymodal.results_speech import Scene, Timeline, Transcript
    from polymodal.suite import Suite

__all__ = ["models_of", "print_timeline", "print_transcript", "shown", "transcribe", "watch"]

BLANK = "(blank: one even color)"
"""Where the caption of a scene would stand."""


def transcribe(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Sounds, videos, folders or globs.")
    ],
    format_: Annotated[
        str, typer.Option("--format", "-f", metavar="text|json|srt|vtt", help="What to write.")
    ] = "text",
    language: Annotated[
        str | None,
        typer.Option(metavar="XX", help="A code such as en; recognised where not given."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write a file for each input here."),
    ] = None,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    no_cache: NoCache = False,
    no_journal: NoJournal = False,
    quiet: Quiet = False,
) -> None:
    """Write down what is said in sounds and videos.

    Silence, music and noise give nothing. What was heard before comes from the cache.

    Example: polymodal transcribe call.mp3 --format srt > call.srt

    With --json a line is {"input", "language", "text", "segments": [{"start_s", "end_s", "text"}]}.
    """
    from polymodal.media.containers import SOUND_EXTENSIONS, VIDEO_EXTENSIONS

    out = Output(as_json=json or (format_ == "json" and output is None), quiet=quiet)
    if format_ not in ENDINGS:
        raise UsageError(f"--format is one of {', '.join(ENDINGS)}, not {format_!r}.")
    inputs = find_inputs(paths, SOUND_EXTENSIONS | VIDEO_EXTENSIONS, "sounds or videos")
    if format_ in ("srt", "vtt") and len(inputs) > 1 and output is None:
        raise UsageError(f"{len(inputs)} inputs cannot be one {format_} file: add --output DIR.")
    suite = open_suite(
        "starter", device, transcriber=model, no_cache=no_cache, no_journal=no_journal
    )
    folder = _made(output) if output else None
    for item in succeeded(_heard(suite, inputs, language, out), out):
        out.line(transcript_values(item))
        if folder:
            _save(item, format_, folder, out)
        elif not out.as_json:
            print_transcript(item, format_, out, several=len(inputs) > 1)
    out.finish()


def _heard(
    suite: Suite, inputs: Inputs, language: str | None, out: Output
) -> Iterator[Transcript | ItemError]:
    """Transcripts in order; progress counts files, or the seconds of a single one."""
    if len(inputs) > 1:
        results = suite.transcribe(iter(inputs.files), language=language)
        yield from tracked(inputs.with_errors(results), len(inputs), out, "listening")
        return
    from polymodal.cli.progress import progress

    with progress(out, "seconds heard") as meter:
        results = suite.transcribe(
            iter(inputs.files),
            language=language,
            progress=lambda done_s, total_s: meter(int(done_s), int(total_s) if total_s else None),
        )
        yield from inputs.with_errors(results)


def transcript_values(item: Transcript) -> dict[str, Any]:
    """The JSON line of a transcript."""
    return {
        "input": item.input,
        "language": item.language,
        "text": item.text,
        "segments": [
            {"start_s": each.start_s, "end_s": each.end_s, "text": each.text}
            for each in item.segments
        ],
    }


def print_transcript(item: Transcript, format_: str, out: Output, *, several: bool = False) -> None:
    """The transcript on stdout; with a heading where there are several."""
    if several:
        heard = f"{item.language}, {item.duration_s:.1f} s" if item.language else "no speech"
        out.text(f"== {item.input} ({heard})")
    elif not item.segments:
        out.note(f"note: nobody speaks in {item.input} ({item.duration_s:.1f} s).")
    for line in written(item, format_).splitlines():
        out.text(line)


def _made(output: str) -> Path:
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {output}: {error.strerror}.") from error
    return folder


def _save(item: Transcript, format_: str, folder: Path, out: Output) -> None:
    from polymodal.cli.output import to_json

    # The whole name, so that talk.mp3 and talk.mp4 stay apart.
    target = folder / (Path(item.input).name + ENDINGS[format_])
    content = to_json(transcript_values(item)) if format_ == "json" else written(item, format_)
    try:
        target.write_text(content, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}.") from error
    out.text(f"{item.input} -> {target}")


def watch(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Videos, folders or globs.")
    ],
    html: Annotated[
        str | None,
        typer.Option("--html", metavar="FILE", help="Also write a page that plays the scenes."),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(metavar="XX", help="What is spoken, such as en; recognised where not given."),
    ] = None,
    transcriber: Annotated[
        str, typer.Option(metavar="NAME", help="The speech model's name, or its folder.")
    ] = "starter",
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    no_cache: NoCache = False,
    no_journal: NoJournal = False,
    quiet: Quiet = False,
) -> None:
    """Cut videos into scenes: what each shows and what is said.

    Example: polymodal watch clip.mp4 --html clip.html

    With --json a line is {"input", "scenes": [{"start_s", "end_s", "caption", "speech", "fit",
    "blank"}], "notes", "models"}; a caption is null where the model has no captioner, and of a
    blank scene.
    """
    from polymodal.cli.progress import progress
    from polymodal.media.containers import VIDEO_EXTENSIONS

    out = Output(as_json=json, quiet=quiet)
    inputs = find_inputs(paths, VIDEO_EXTENSIONS, "videos")
    suite = open_suite(
        model, device, transcriber=transcriber, no_cache=no_cache, no_journal=no_journal
    )
    found = []
    with progress(out, "seconds seen") as meter:
        results = suite.watch(
            iter(inputs.files),
            language=language,
            progress=lambda done_s, total_s: meter(int(done_s), int(total_s) if total_s else None),
        )
        for item in succeeded(inputs.with_errors(results), out):
            out.line(timeline_values(item))
            print_timeline(item, out, several=len(inputs) > 1)
            found.append(item)
    if html:
        from polymodal.cli.timeline_page import write_timeline_page

        write_timeline_page(html, found)
        out.note(f"page: {Path(html).resolve()}")
    out.finish()


def timeline_values(item: Timeline) -> dict[str, Any]:
    """The JSON line of a timeline."""
    return {
        "input": item.input,
        "scenes": [
            {
                "start_s": each.start_s,
                "end_s": each.end_s,
                "caption": each.caption,
                "speech": each.speech,
                "fit": each.caption_fit,
                "blank": each.blank,
            }
            for each in item.scenes
        ],
        "notes": item.notes,
        "models": {part: f"{m.model}@{m.revision}" for part, m in models_of(item).items()},
    }


def models_of(item: Timeline) -> dict[str, Provenance]:
    """What was made by which model; without what no model was asked for."""
    made = {"scenes": item.provenance, "caption": item.captioner, "speech": item.transcriber}
    return {part: model for part, model in made.items() if model is not None}


def shown(scene: Scene, otherwise: str = "") -> str:
    """A scene's caption, and that it may not fit; why there is none, or `otherwise`."""
    if scene.blank:
        return BLANK
    if not scene.caption:
        return otherwise
    doubt = doubted(scene.caption_fit)
    return f"{scene.caption} ({doubt})" if doubt else scene.caption


def print_timeline(item: Timeline, out: Output, *, several: bool = False) -> None:
    """The scenes as a table, or one below the other where that would cut off what is said."""
    from polymodal.cli.tables import is_cut

    if several:
        out.text(f"== {item.input}")
    rows = [
        [moment(each.start_s), moment(each.end_s), shown(each), each.speech] for each in item.scenes
    ]
    columns = ["from", "to", "shows", "says"]
    if not any(shown(each) for each in item.scenes):
        columns.remove("shows")
        rows = [[*row[:2], row[3]] for row in rows]
    if is_cut(columns, rows, range(2, len(columns))):
        for start, end, *said in rows:
            out.wrapped(said[0] or "-", f"{start} to {end}  ")
            if said[1:] and said[1]:
                out.wrapped(said[1], "  says: ")
    else:
        out.table(columns, rows)
    for note in item.notes:
        out.note(f"note: {item.input}: {note}")
