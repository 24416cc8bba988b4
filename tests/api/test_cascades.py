"""A cascade with a model behind an API on top: what goes up, what it costs, what a budget stops."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

import polymodal as pm
from polymodal.results_cascades import Decision
from polymodal.runtime.judging import Case, Judged
from polymodal.tasks.cascade_file import Cascade, Tier
from tests.api.conftest import MODELS
from tests.api.server import LOGPROB, TOKENS, Service
from tests.api.test_verbs import CALL_USD

CHEAP = Tier(name="cheap", by="embedder", accept=0.9, reject=0.1)


class Sure:
    """Sure of red and of blue, and of nothing else."""

    provenance = pm.Provenance("sure", "1")

    def judge(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Judged]]:
        for case in cases:
            yield case, Judged({"red": 0.99, "blue": 0.01}.get(case.text, 0.5))


@pytest.fixture
def cases(tmp_path: Path) -> list[tuple[str, str]]:
    """A picture for each of: decided early, three undecided, decided early."""
    found = []
    for number, text in enumerate(("red", "green", "grey", "pink", "blue")):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (32, 32), (40 * number, 30, 200)).save(path)
        found.append((str(path), text))
    return found


def run(
    home: Path, cases: list[tuple[str, str]], vendor: str = "openai", budget: float | None = None
) -> tuple[list[Decision | pm.ItemError], pm.Suite, object]:
    suite = pm.Suite(home=home, budget_usd=budget)
    cascade = Cascade(name="test", task="match", tiers=(CHEAP,))
    running = suite.cascade(cascade, top=MODELS[vendor], judges={"cheap": Sure()}).run(cases)
    return list(running), suite, running.report


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "gemini"])
def test_only_the_undecided_are_sent_and_paid(
    service: Service, tmp_path: Path, cases: list[tuple[str, str]], vendor: str
) -> None:
    service.says = lambda _: "Yes"
    found, suite, report = run(tmp_path / "home", cases, vendor)
    assert len(service.received) == 3
    decided = [(each.yes, each.tier) for each in found if isinstance(each, Decision)]
    top = (True, MODELS[vendor])
    assert decided == [(True, "cheap"), top, top, top, (False, "cheap")]
    assert isinstance(found[1], Decision)
    # Only OpenAI's format tells a probability; the others' word counts whole.
    told = max(0.5, math.exp(TOKENS * LOGPROB))
    assert found[1].score == pytest.approx(told if vendor == "openai" else 1.0)
    assert report.cost_usd == pytest.approx(3 * CALL_USD[vendor])  # type: ignore[attr-defined]
    assert report.top_cost_usd == pytest.approx(5 * CALL_USD[vendor])  # type: ignore[attr-defined]
    assert suite.journal is not None
    assert len(suite.journal.calls(verb="judge")) == 3
    again, suite, report = run(tmp_path / "home", cases, vendor)
    assert [each.score for each in again if isinstance(each, Decision)] == [
        each.score for each in found if isinstance(each, Decision)
    ]
    assert len(service.received) == 3  # from the cache, and free
    assert report.cost_usd == 0.0  # type: ignore[attr-defined]
    assert report.tiers[1].cached == 3  # type: ignore[attr-defined]
    assert report.top_cost_usd == pytest.approx(5 * CALL_USD[vendor])  # type: ignore[attr-defined]


def test_a_budget_stops_before_it_is_passed(
    service: Service, tmp_path: Path, cases: list[tuple[str, str]]
) -> None:
    service.says = lambda _: "no"
    found, suite, _ = run(tmp_path / "home", cases, budget=1e-6)
    assert [getattr(each, "kind", "Decision") for each in found] == [
        "Decision",
        *["BudgetExceeded"] * 3,
        "Decision",
    ]
    assert service.received == []
    assert suite.spending.spent_usd == 0.0


def test_a_request_that_fails_is_a_case_that_fails(
    service: Service, tmp_path: Path, cases: list[tuple[str, str]]
) -> None:
    service.says = lambda _: "Perhaps"
    found, _, report = run(tmp_path / "home", cases)
    kinds = [getattr(each, "kind", "Decision") for each in found]
    assert kinds == ["Decision", *["InvalidAnswer"] * 3, "Decision"]
    assert report.tiers[1].failed == 3  # type: ignore[attr-defined]
    assert report.cost_usd == pytest.approx(3 * CALL_USD["openai"])  # type: ignore[attr-defined]


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_paid(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from polymodal.cli.app import app

    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    picture = tmp_path / "red.png"
    Image.new("RGB", (32, 32), "red").save(picture)
    lines = [f"{picture},red,{'yes' if n % 2 else 'no'}" for n in range(40)]
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(["image,text,label", *lines]))
    for place in (tmp_path / "gone" / "mine.toml", tmp_path):
        asked = ["cascade", "fit", "listing", str(table), "-o", str(place), "-m", MODELS["openai"]]
        done = CliRunner().invoke(app, asked)
        assert done.exit_code == 1
        assert "cannot write the cascade" in done.output
    assert service.received == []
