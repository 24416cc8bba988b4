"""`polymodal cache` and `polymodal journal`."""

import json
import re

import pytest

from polymodal.models.messages import Generation, ImagePart, Message
from polymodal.models.mock import MockGenerator
from polymodal.runtime.cache import Cache
from polymodal.runtime.journal import Journal
from polymodal.runtime.recorded import recorded


@pytest.fixture
def run(polymodal):
    return lambda *arguments, **variables: polymodal(*arguments, mock=False, **variables)


@pytest.fixture
def journal(tmp_path):
    """Twelve answers of falling confidence, in the home that the command uses."""
    from PIL import Image

    journal = Journal(tmp_path / "home" / "journal-v1.sqlite3")
    answers = [Generation(f"answer {n}", logprob=-n / 10, tokens=1) for n in range(12)]
    model = recorded(MockGenerator(answers), journal, "ask")
    picture = ImagePart(Image.new("RGB", (4, 4)), sha256="ab" * 32, name="photos/p.jpg")
    model.generate([[Message.user(picture, f"Question {n}?")] for n in range(12)])
    yield journal
    journal.close()


def test_info_and_clear_of_the_cache(run, tmp_path):
    empty = run("cache", "info", "--json").lines[0]
    assert (empty["entries"], empty["verbs"], empty["set_aside"]) == (0, {}, [])
    Cache(tmp_path / "home" / "cache-v1.sqlite3").put({"a": 1, "b": 2}, verb="caption")
    assert re.search(r"results +2 \(caption 2\)", run("cache", "info").stdout)
    assert run("cache", "clear", "--json").lines == [{"removed": 2}]
    assert run("cache", "info", "--json").lines[0]["entries"] == 0


def test_a_damaged_cache_is_named_and_cleared(run, tmp_path):
    path = tmp_path / "home" / "cache-v1.sqlite3"
    path.parent.mkdir()
    path.write_bytes(b"no database " * 99)
    with pytest.warns(UserWarning, match="is damaged"):
        ran = run("cache", "info", "--json")
    (aside,) = ran.lines[0]["set_aside"]
    assert aside in run("cache", "info").stdout
    assert run("cache", "clear").code == 0
    assert run("cache", "info", "--json").lines[0]["set_aside"] == []


def test_the_list_shows_the_newest_last(run, journal):
    lines = run("journal", "list", "-k", "3", "--json").lines
    assert [line["output"] for line in lines] == ["answer 9", "answer 10", "answer 11"]
    assert lines[0]["label"] is None
    shown = run("journal", "list").stdout.splitlines()
    assert len(shown) == 13
    assert max(map(len, shown)) <= 80
    assert run("journal", "list", "--verb", "caption", "--json").lines == []


def test_show_gives_everything_of_a_call(run, journal):
    text = run("journal", "show", "3").stdout
    assert "Question 2?" in text
    assert "photos/p.jpg" in text
    assert run("journal", "show", "3", "--json").lines[0]["prompt"].endswith("Question 2?")
    missing = run("journal", "show", "99")
    assert (missing.code, missing.stdout) == (2, "")
    assert "no call 99" in missing.stderr


def test_review_from_sample_to_accuracy(run, journal):
    drawn = run("journal", "sample", "-k", "6", "--seed", "4", "--json").lines
    assert [line["drawn"] for line in drawn] == ["uncertain"] * 3 + ["random"] * 3
    assert [line["output"] for line in drawn[:3]] == ["answer 11", "answer 10", "answer 9"]
    assert run("journal", "sample", "-k", "6", "--seed", "4", "--json").lines == drawn
    for line in drawn[:3]:
        run("journal", "label", line["id"], "wrong")
    for line in drawn[3:]:
        labelled = run("journal", "label", line["id"], "right", "--note", "seen", "--json").lines
    assert labelled[0]["label"] == "right"
    (result,) = run("journal", "accuracy", "--json").lines
    assert result["labelled"] + result["others"] == 6
    assert result["correct"] == 3
    assert result["accuracy"] == pytest.approx(3 / result["labelled"])
    assert "Right: " in run("journal", "accuracy").stdout
    assert run("journal", "show", drawn[-1]["id"], "--json").lines[0]["note"] == "seen"


@pytest.mark.parametrize(
    "arguments", [["label", "1", "perhaps"], ["label", "77", "right"], ["sample", "--by", "luck"]]
)
def test_wrong_use_is_refused(run, journal, arguments):
    ran = run("journal", *arguments)
    assert (ran.code, ran.stdout) == (2, "")
    assert ran.stderr.startswith("polymodal: ")


def test_export_writes_calls_and_labels(run, journal, tmp_path):
    run("journal", "label", "2", "wrong", "--note", "no")
    ran = run("journal", "export", "out.jsonl", "--json")
    assert ran.lines == [{"output": "out.jsonl", "calls": 12}]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == list(range(1, 13))
    assert [(line["label"], line["note"]) for line in lines[:2]] == [(None, ""), ("wrong", "no")]
    assert run("journal", "export", "-").lines == lines
    assert run("journal", "export", "nowhere/out.jsonl").code == 2


def test_an_empty_journal_says_so_and_is_no_failure(run):
    ran = run("journal", "list")
    assert (ran.code, ran.stdout) == (0, "")
    assert "0 calls in" in ran.stderr
    assert run("journal", "accuracy").code == 0
    assert run("journal", "sample", "--json").lines == []


def test_an_answer_cannot_drive_the_terminal(run, tmp_path):
    journal = Journal(tmp_path / "home" / "journal-v1.sqlite3")
    recorded(MockGenerator(["\x1b[2Jgone\r"]), journal, "ask").generate(
        [[Message.user("q\x1b[1m")]]
    )
    for arguments in (["list"], ["show", "1"], ["sample"], ["list", "--json"]):
        assert "\x1b" not in run("journal", *arguments).stdout
