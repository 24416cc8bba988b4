"""The commands with models behind APIs: what is printed where, exit codes, stream, budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.conftest import KEYS, MODELS
from tests.api.server import Service
from tests.models.weights import captioner_or_skip, starter_or_skip
from tests.tasks.pictures import marked, plain

Ran = subprocess.CompletedProcess[str]
Command = Callable[..., Ran]


@pytest.fixture
def polymodal(tmp_path: Path, service: Service) -> Command:
    """The command in a process of its own, with an empty home."""

    def run(*arguments: object, **variables: str) -> Ran:
        paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
        own = {"POLYMODAL_HOME": str(tmp_path / "home"), "COLUMNS": "80", "NO_COLOR": "1"}
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "polymodal", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **own, "PYTHONPATH": paths, **variables},
            timeout=120,
            check=False,
        )

    return run


def test_a_caption_and_its_cost(polymodal: Command, picture: Path) -> None:
    ran = polymodal("caption", picture, "-m", MODELS["openai"])
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{picture}: A red square. (0.90)\n"
    assert "cost: $0.0008 for 1 answer" in ran.stderr
    (line,) = polymodal("journal", "list", "--json").stdout.splitlines()
    call = json.loads(line)
    assert call["model"] == MODELS["openai"]
    assert call["cost_usd"] == pytest.approx(0.00084)


def test_json_is_one_object_a_line(polymodal: Command, picture: Path) -> None:
    ran = polymodal("caption", picture, "-m", MODELS["anthropic"], "--json")
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [
        {"input": str(picture), "caption": "A red square.", "score": None, "fit": None}
    ]


def test_a_stream_is_printed_as_it_comes(polymodal: Command, picture: Path, tmp_path: Path) -> None:
    marked("blue").save(tmp_path / "blue.png")
    ran = polymodal("caption", picture, "blue.png", "-m", MODELS["gemini"], "--stream")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{picture}: A red square.\nblue.png: A red square.\n"
    plain("white").save(tmp_path / "page.png")
    blank = polymodal("caption", "page.png", picture, "-m", MODELS["gemini"], "--stream")
    assert (blank.returncode, blank.stdout) == (1, f"{picture}: A red square.\n")
    assert "page.png: is blank (one even color, #ffffff)" in blank.stderr
    again = polymodal("caption", picture, "-m", MODELS["gemini"], "--stream")
    assert again.stdout == f"{picture}: A red square.\n"  # from the cache, and still said


def test_ask_streams_and_then_checks(polymodal: Command, picture: Path, service: Service) -> None:
    starter_or_skip()
    service.says = lambda _: "red"
    question = ("-q", "What color is the square?")
    ran = polymodal("ask", picture, *question, "-m", MODELS["openai"], "--stream")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"{picture}: red\n")
    assert "because" in ran.stdout


def test_options_of_an_answer_go_out(polymodal: Command, picture: Path, service: Service) -> None:
    options = ("--max-tokens", 77, "--temperature", 0.5, "--seed", 3, "--stop", "A", "--stop", "B")
    for _ in range(2):  # drawn at random by a model that promises nothing: asked for every time
        ran = polymodal("caption", picture, "-m", MODELS["openai"], *options)
        assert ran.returncode == 0, ran.stderr
    first, second = (received.body for received in service.received)
    assert (first["max_completion_tokens"], first["temperature"], first["seed"]) == (77, 0.5, 3)
    assert first["stop"] == ["A", "B"]
    assert first == second


def test_a_seed_changes_nothing_of_a_greedy_answer(
    polymodal: Command, picture: Path, service: Service
) -> None:
    for seed in ((), ("--seed", 3), ("--seed", 4)):
        ran = polymodal("caption", picture, "-m", MODELS["openai"], *seed)
        assert ran.returncode == 0, ran.stderr
    (received,) = service.received  # the others are in the cache
    assert "seed" not in received.body
    captioner_or_skip()
    plain, seeded = (polymodal("caption", picture, *seed) for seed in ((), ("--seed", 3)))
    assert plain.returncode == seeded.returncode == 0, seeded.stderr
    assert plain.stdout == seeded.stdout != ""


ITEM = """
from pydantic import BaseModel

class Item(BaseModel):
    color: str
    count: int
"""


@pytest.mark.parametrize("schema", ["item.json", "shop:Item"])
def test_ask_answers_with_data(
    polymodal: Command, picture: Path, service: Service, tmp_path: Path, schema: str
) -> None:
    starter_or_skip()
    (tmp_path / "shop.py").write_text(ITEM)
    (tmp_path / "item.json").write_text(json.dumps({"title": "Item", "type": "object"}))
    service.says = lambda _: '{"color": "red", "count": 1}'
    asked = ("ask", picture, "-q", "What is shown?", "-m", MODELS["openai"], "--schema", schema)
    (line,) = polymodal(*asked, "--json").stdout.splitlines()
    assert json.loads(line)["data"] == {"color": "red", "count": 1}
    assert "response_format" in service.received[0].body
    if schema == "shop:Item":
        service.says = lambda _: '{"color": "red"}'
        ran = polymodal(*asked, "--json", "--no-cache")
        assert ran.returncode == 1
        assert "no data for Item after 3 answers: count: Field required" in ran.stderr
        failed = json.loads(ran.stdout)
        assert failed["kind"] == "InvalidAnswer"
        assert [each["text"] for each in failed["attempts"]] == ['{"color": "red"}'] * 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("caption", "--max-tokens", "9"), "a model that writes"),
        (("caption", "--stream"), "says its answer at once"),
        (("caption", "--stream", "--json", "-m", "openai:gpt-5.5"), "--json"),
        (("caption", "--budget", "1"), "costs nothing"),
        (("caption", "--budget", "-1", "-m", "openai:gpt-5.5"), "above 0"),
        (("caption", "--budget", "1", "-m", "openai:gpt-of-tomorrow"), "no price"),
        (("caption", "--candidates", "2", "-m", "openai:gpt-5.5"), "one caption"),
        (("embed", "-m", "openai:gpt-5.5"), "no vectors"),
        (("extract", "-m", "./some-folder"), "extract goes with starter"),
        (("caption", "-m", "openai:"), "what model"),
        (("ask", "-q", "x", "--schema", "shop:Item"), "cannot import shop"),
        (("ask", "-q", "x", "--schema", "json:Item"), "the module json has no Item"),
        (("ask", "-q", "x", "--schema", "gone.json"), "cannot read the schema gone.json"),
        (
            ("ask", "-q", "x", "--schema", "a.json", "--stream", "-m", "openai:gpt-5.5"),
            "--stream goes without it",
        ),
    ],
)
def test_wrong_usage_is_exit_code_2(
    polymodal: Command, picture: Path, service: Service, arguments: tuple[str, ...], said: str
) -> None:
    ran = polymodal(arguments[0], picture, *arguments[1:])
    assert ran.returncode == 2, ran
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
    assert service.received == []


def test_a_budget_ends_a_run_with_exit_code_1(polymodal: Command, picture: Path) -> None:
    ran = polymodal("caption", picture, "-m", MODELS["openai"], "--budget", "0.001")
    assert ran.returncode == 1
    assert "not sent: it could cost up to $" in ran.stderr
    assert ran.stdout == ""


def test_a_missing_or_refused_key_is_exit_code_3(
    polymodal: Command, picture: Path, service: Service
) -> None:
    ran = polymodal("caption", picture, "-m", MODELS["openai"], OPENAI_API_KEY="")
    assert ran.returncode == 3
    assert "export OPENAI_API_KEY=" in ran.stderr
    service.plan = ["revoked"]
    ran = polymodal("caption", picture, "-m", MODELS["openai"], POLYMODAL_DEBUG="1")
    assert ran.returncode == 1  # a traceback was asked for
    assert "Traceback" in ran.stderr
    assert KEYS["OPENAI_API_KEY"] not in ran.stderr + ran.stdout
    service.plan = ["revoked"]
    ran = polymodal("caption", picture, "-m", MODELS["openai"])
    assert ran.returncode == 3
    assert "the key in OPENAI_API_KEY was refused" in ran.stderr
    assert KEYS["OPENAI_API_KEY"] not in ran.stderr
