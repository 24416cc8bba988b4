"""What fails, what is tried again, how long it is waited, and what is said in the end."""

from __future__ import annotations

import email.utils
import logging
import time
import traceback

import pytest

import polymodal as pm
from polymodal.catalog.generators import open_generator
from polymodal.runtime.spending import BudgetedGenerator, Spending
from tests.api.conftest import KEYS, MODELS, VENDORS
from tests.api.server import Service

HELLO = [pm.Message.user("Hello")]


def one(vendor: str) -> pm.Generation | pm.PolymodalError:
    (answer,) = open_generator(MODELS[vendor]).generate([HELLO])
    return answer


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_rate_limit_is_waited_for_as_long_as_it_says(
    service: Service, waits: list[float], vendor: str
) -> None:
    service.plan = ["rate_limited", "rate_limited"]
    answer = one(vendor)
    assert isinstance(answer, pm.Generation)
    assert answer.text == "A red square."
    assert len(service.received) == 3
    # Not less, and a little more, so that many who were told the same do not all come back at once.
    assert len(waits) == 2
    assert all(2.0 <= wait <= 2.25 for wait in waits)
    assert waits[0] != waits[1]


def test_a_date_is_understood_as_a_wait(service: Service, waits: list[float]) -> None:
    service.retry_after = email.utils.formatdate(time.time() + 30, usegmt=True)
    service.plan = ["rate_limited"]
    assert isinstance(one("openai"), pm.Generation)
    assert 25 <= waits[0] <= 31


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_wait_of_an_hour_is_a_failure_that_names_it(
    service: Service, waits: list[float], vendor: str
) -> None:
    service.retry_after = "3600"
    service.plan = ["rate_limited"]
    answer = one(vendor)
    assert isinstance(answer, pm.ModelError)
    assert answer.reason == "rate_limited"
    assert "wait 3600 s" in str(answer)
    assert waits == []


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("how", ["overloaded", "broken", "dropped"])
def test_what_passes_is_tried_again_with_growing_waits(
    service: Service, waits: list[float], vendor: str, how: str
) -> None:
    service.plan = [how] * 3
    assert isinstance(one(vendor), pm.Generation)
    assert len(service.received) == 4
    for wait, full in zip(waits, (0.5, 1.0, 2.0), strict=True):
        assert 0.75 * full <= wait <= full


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_does_not_pass_fails_after_five_tries(
    service: Service, waits: list[float], vendor: str
) -> None:
    service.plan = ["overloaded"] * 9
    answer = one(vendor)
    assert isinstance(answer, pm.ModelError)
    assert (answer.model, answer.reason) == (MODELS[vendor], "overloaded")
    assert "after 5 tries" in str(answer)
    assert "Overloaded." in str(answer)
    assert len(service.received) == 5


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("how", ["echoed", "html_error"])
def test_a_bad_request_is_never_sent_again(
    service: Service, waits: list[float], vendor: str, how: str
) -> None:
    service.plan = [how]
    answer = one(vendor)
    assert isinstance(answer, pm.ModelError)
    assert answer.reason == "rejected"
    assert "answered 400" in str(answer)
    assert len(service.received) == 1
    assert waits == []


def test_a_quota_that_is_used_up_is_not_waited_for(service: Service, waits: list[float]) -> None:
    service.plan = ["quota"]
    answer = one("openai")
    assert isinstance(answer, pm.ModelError)
    assert "exceeded your current quota" in str(answer)
    assert len(service.received) == 1


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("how", "said"), [("html", "HTML page"), ("malformed", ""), ("empty", "")])
def test_an_answer_that_is_none_names_the_model(
    service: Service, vendor: str, how: str, said: str
) -> None:
    service.plan = [how]
    answer = one(vendor)
    assert isinstance(answer, pm.ModelError), answer
    assert (answer.model, answer.reason) == (MODELS[vendor], "malformed")
    assert said in str(answer)
    assert "<html" not in str(answer)
    assert len(service.received) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_revoked_key_ends_the_run_and_names_its_variable(service: Service, vendor: str) -> None:
    service.plan = ["revoked"] * 2
    with pytest.raises(pm.ModelUnavailable, match="was refused") as caught:
        open_generator(MODELS[vendor]).generate([HELLO, HELLO])
    assert f"{vendor.upper()}_API_KEY" in str(caught.value)
    assert MODELS[vendor] in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_key_that_google_does_not_know_ends_the_run(service: Service) -> None:
    service.plan = ["bad_key"] * 2
    with pytest.raises(pm.ModelUnavailable, match="the key in GEMINI_API_KEY was refused"):
        open_generator(MODELS["gemini"]).generate([HELLO, HELLO])


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_a_key_may_not_do_is_said_in_the_vendor_s_words(service: Service, vendor: str) -> None:
    service.plan = ["forbidden"]
    with pytest.raises(pm.ModelUnavailable, match="Not in your region") as caught:
        open_generator(MODELS[vendor]).generate([HELLO])
    assert KEYS[f"{vendor.upper()}_API_KEY"] not in str(caught.value)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_page_is_named_whatever_was_asked(service: Service, vendor: str) -> None:
    service.plan = ["html_error"]
    assert "an HTML page" in str(one(vendor))
    service.plan = ["html"]
    with pytest.raises(pm.ModelError, match="an HTML page") as caught:
        list(open_generator(MODELS[vendor]).stream(HELLO))
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_answer_whose_tokens_nobody_counted_has_no_price(service: Service, vendor: str) -> None:
    service.plan = ["uncounted"]
    spending = Spending()
    (answer,) = BudgetedGenerator(open_generator(MODELS[vendor]), spending).generate([HELLO])
    assert isinstance(answer, pm.Generation), answer
    assert (answer.text, answer.cost_usd) == ("A red square.", None)
    assert spending.describe() == "1 answer; its price is not known"


def test_a_wrong_address_of_a_server_is_suspected(service: Service) -> None:
    with pytest.raises(pm.ModelUnavailable, match="most end in /v1"):
        open_generator(f"openai:qwen@{service.url}").generate([HELLO])


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_unknown_model_ends_the_run(service: Service, vendor: str) -> None:
    service.plan = ["unknown_model"]
    with pytest.raises(pm.ModelUnavailable, match="no such model"):
        open_generator(MODELS[vendor]).generate([HELLO])


def test_an_unknown_model_suggests_the_nearest(service: Service) -> None:
    service.plan = ["unknown_model"]
    with pytest.raises(pm.ModelUnavailable, match=r"mean 'openai:gpt-5\.4-mini' or 'openai:"):
        open_generator("openai:gpt-5.4-mni").generate([HELLO])


def test_a_request_that_fails_leaves_the_others_alone(service: Service) -> None:
    service.plan = ["plain", "echoed"]
    answers = open_generator(MODELS["openai"]).generate([HELLO, HELLO, HELLO])
    kinds = sorted(type(answer).__name__ for answer in answers)
    assert kinds == ["Generation", "Generation", "ModelError"]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_stream_that_breaks_is_not_begun_again(
    service: Service, waits: list[float], vendor: str
) -> None:
    service.plan = ["broken_stream"]
    stream = open_generator(MODELS[vendor]).stream(HELLO)
    assert next(stream) == "A re"
    with pytest.raises(pm.ModelError):
        list(stream)
    assert len(service.received) == 1
    service.plan = ["overloaded"]
    *_, whole = open_generator(MODELS[vendor]).stream(HELLO)
    assert isinstance(whole, pm.Generation)
    assert len(waits) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_connection_that_is_lost_within_an_answer_is_paid_for(
    service: Service, waits: list[float], vendor: str
) -> None:
    service.plan = ["cut_stream"]
    spending = Spending(1.0)
    generator = BudgetedGenerator(open_generator(MODELS[vendor]), spending)
    with pytest.raises(pm.ModelError, match="no connection any more, within an answer") as caught:
        list(generator.stream(HELLO))
    assert "tries" not in str(caught.value)
    assert waits == []
    most_usd = generator.most_usd(HELLO)
    assert most_usd is not None
    assert spending.spent_usd == pytest.approx(most_usd)
    assert "for 0 answers" in spending.describe()


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_failure_inside_a_stream_is_tried_again(
    service: Service, waits: list[float], vendor: str
) -> None:
    service.plan = ["late", "late"]
    *_, whole = open_generator(MODELS[vendor]).stream(HELLO)
    assert isinstance(whole, pm.Generation)
    assert len(service.received) == 3
    service.plan = ["late"] * 5
    with pytest.raises(pm.ModelError, match="Overloaded") as caught:
        list(open_generator(MODELS[vendor]).stream(HELLO))
    assert caught.value.reason == "overloaded"


def test_a_server_that_is_not_there_is_named(service: Service, waits: list[float]) -> None:
    address = "http://127.0.0.1:9/v1"
    (answer,) = open_generator(f"openai:qwen@{address}").generate([HELLO])
    assert isinstance(answer, pm.ModelError)
    assert answer.reason == "unreachable"
    assert address in str(answer)
    assert len(waits) == 4


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("how", ["revoked", "echoed", "html_error", "malformed", "dropped"])
def test_no_key_is_in_an_error_or_a_log(
    service: Service,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
    vendor: str,
    how: str,
) -> None:
    service.plan = [how] * 9
    with caplog.at_level(logging.DEBUG):
        try:
            error: BaseException = open_generator(MODELS[vendor]).generate([HELLO])[0]  # type: ignore[assignment]
        except pm.PolymodalError as raised:
            error = raised
    assert isinstance(error, pm.PolymodalError)
    shown = "".join(traceback.format_exception(error)) + repr(error) + caplog.text
    assert service.received
    for key in KEYS.values():
        assert key not in shown
    assert KEYS[f"{vendor.upper()}_API_KEY"] in str(service.received[0].headers)
