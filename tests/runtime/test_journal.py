"""The record of what was asked and answered."""

import hashlib
import json
import sqlite3

import numpy as np
import pytest
from PIL import Image

from polymodal.errors import ModelUnavailable, UsageError
from polymodal.models.messages import (
    AudioPart,
    Generation,
    GenerationOptions,
    ImagePart,
    Message,
    TextPart,
)
from polymodal.models.mock import MockGenerator
from polymodal.models.protocols import Generator
from polymodal.runtime.journal import Call, Journal, open_journal
from polymodal.runtime.recorded import recorded
from polymodal.runtime.redaction import struck_out

RED = Image.new("RGB", (8, 8), "red")


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.sqlite3")


def test_every_call_of_a_recorded_generator_is_there(journal):
    said = Generation("red", logprob=-0.5, tokens=2, prompt_tokens=9, cost_usd=0.01)
    model = recorded(MockGenerator([said]), journal, "ask")
    assert isinstance(model, Generator)
    picture = ImagePart(RED, sha256="ab" * 32, name="p.jpg")
    conversation = [Message.system("Be brief."), Message.user(picture, "What colour?")]
    assert model.generate([conversation], GenerationOptions(max_tokens=5)) == [said]
    (call,) = journal.calls()
    assert call.to_dict() | {"time": "", "latency_s": 0} == {
        "id": 1,
        "time": "",
        "verb": "ask",
        "model": "mock",
        "revision": "1",
        "prompt": "system: Be brief.\nuser: [image abababababab] What colour?",
        "parameters": {"max_tokens": 5},
        "inputs": [{"kind": "image", "name": "p.jpg", "sha256": "ab" * 32}],
        "output": "red",
        "finish": "stop",
        "confidence": pytest.approx(np.exp(-0.25)),
        "latency_s": 0,
        "batch": 1,
        "prompt_tokens": 9,
        "tokens": 2,
        "cost_usd": 0.01,
    }
    assert call.latency_s > 0


def test_without_a_journal_the_generator_is_itself():
    model = MockGenerator()
    assert recorded(model, None, "ask") is model


def test_a_failure_in_a_batch_and_a_batch_that_raises_are_recorded(journal):
    gone = ModelUnavailable("nobody there")
    model = recorded(MockGenerator(["yes", gone]), journal, "ask")
    assert model.generate([[Message.user("a")], [Message.user("b")]])[1] is gone
    with pytest.raises(UsageError, match="constraint"):
        model.generate([[Message.user("c")]], GenerationOptions(json_schema={}))
    found = [(call.finish, call.output, call.batch) for call in journal.calls()]
    assert found[:2] == [("stop", "yes", 2), ("error", "nobody there", 2)]
    assert found[2][0] == "error"


def test_nothing_of_the_media_is_in_the_file(journal):
    """Neither pixels nor samples nor what was read from them; hashes stand in their place."""
    samples = np.linspace(0, 1, 50, dtype=np.float32)
    page = TextPart.read("Account number 12-345-678", "the page")
    message = Message.user(ImagePart(RED), AudioPart(samples, 16_000), page, "What is it?")
    recorded(MockGenerator(["a bill"]), journal, "ask").generate([[message]])
    journal.close()
    content = b"".join(path.read_bytes() for path in journal.path.parent.iterdir())
    assert b"12-345-678" not in content
    assert RED.tobytes()[:24] not in content
    assert samples.tobytes()[:24] not in content
    assert b"a bill" in content
    assert b"What is it?" in content
    inputs = journal.calls()[0].inputs
    assert inputs[0]["sha256"] == hashlib.sha256(RED.tobytes()).hexdigest()
    assert inputs[1]["sha256"] == hashlib.sha256(samples.tobytes()).hexdigest()


@pytest.mark.parametrize("key", ["sk-1234567890abcdef", 'pass"word\\with é'])
def test_keys_of_the_environment_are_struck_out(journal, monkeypatch, key):
    monkeypatch.setenv("EXAMPLE_API_KEY", key)
    journal.record(
        [
            Call(
                verb="ask",
                model=f"m@https://me:{key}@host/v1",
                revision="1",
                prompt=f"my key is {key}",
                output=f"you said {key}",
                parameters={"extra": key},
                inputs=[{"kind": "image", "name": f"{key}.png", "sha256": ""}],
            )
        ]
    )
    journal.label(1, True, f"leaks {key}")
    journal.close()
    content = b"".join(path.read_bytes() for path in journal.path.parent.iterdir())
    for form in (key, json.dumps(key)[1:-1]):
        assert form.encode() not in content
    assert journal.calls()[0].output == "you said [struck out]"


def test_passwords_in_addresses_are_struck_out():
    text = 'see http://me:pw@host/x and "https://host/a", "b@c"'
    assert struck_out(text) == 'see http://[struck out]@host/x and "https://host/a", "b@c"'


@pytest.mark.parametrize("table", ["calls", "labels", "draws"])
@pytest.mark.parametrize("change", ["UPDATE {} SET time_s = 0", "DELETE FROM {}"])
def test_the_file_refuses_changes(journal, table, change):
    journal.record([Call("ask", "m", "1", "x")])
    journal.label(1, True)
    journal.draw([1], "random")
    with (
        sqlite3.connect(journal.path) as other,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        other.execute(change.format(table))
    other.close()


def test_a_new_label_counts_and_the_old_one_stays(journal):
    journal.record([Call("ask", "m", "1", "x")])
    assert journal.label(1, True).output == "x"
    journal.label(1, False, "on second thought")
    label = journal.labels()[1]
    assert (label.correct, label.note) == (False, "on second thought")
    with sqlite3.connect(journal.path) as other:
        assert other.execute("SELECT count(*) FROM labels").fetchone() == (2,)
    other.close()


def test_labelling_a_call_that_is_not_there_is_refused(journal):
    with pytest.raises(UsageError, match="no call 7"):
        journal.label(7, True)


def test_calls_are_found_by_verb_model_number_and_age(journal):
    journal.record([Call(v, m, "1", f"{v} {m}") for v in ("ask", "caption") for m in ("a", "b")])
    outputs = lambda **wanted: [call.output for call in journal.calls(**wanted)]  # noqa: E731
    assert outputs(verb="ask") == ["ask a", "ask b"]
    assert outputs(model="b") == ["ask b", "caption b"]
    assert outputs(ids=[4, 1, 99]) == ["ask a", "caption b"]
    assert outputs(last=1) == ["caption b"]
    assert outputs(verb="ask", last=1) == ["ask b"]
    assert len(journal) == 4


def test_a_journal_that_does_not_exist_is_empty_and_reading_makes_no_file(journal):
    assert journal.calls() == []
    assert (len(journal), journal.labels(), journal.path.exists()) == (0, {}, False)


def test_odd_texts_are_kept(journal):
    odd = "\ud800 \0 \u2028 ''; DROP TABLE calls --"
    journal.record([Call("ask", "m", "1", odd, parameters={"q": odd})])
    (call,) = journal.calls()
    assert call.output == odd.encode("utf-8", "backslashreplace").decode()
    assert json.loads(json.dumps(call.to_dict()))["verb"] == "ask"


def test_a_journal_that_cannot_be_written_warns_once_and_stops_nothing(tmp_path):
    (tmp_path / "file").touch()
    model = recorded(MockGenerator(["yes"]), Journal(tmp_path / "file" / "j"), "ask")
    with pytest.warns(UserWarning, match="cannot be written") as warned:
        for _ in range(3):
            assert model.generate([[Message.user("a")]])[0].text == "yes"
    assert len(warned) == 1


def test_the_switch_turns_every_journal_off(tmp_path, monkeypatch):
    given = Journal(tmp_path / "j")
    assert open_journal(given) is given
    assert open_journal(tmp_path / "k").path == tmp_path / "k"
    assert open_journal(True, tmp_path).path.parent == tmp_path
    assert open_journal(False) is None
    monkeypatch.setenv("POLYMODAL_JOURNAL", "off")
    assert open_journal(given) is open_journal(True) is open_journal(tmp_path / "k") is None
