"""Calls to a service: which failures are tried again, how long to wait, and what is said at last.

Notable: one place for every vendor. Their SDKs disagree (one would wait for weeks where it is told
to, one does not read `retry-after` at all), so their own retries are off. A request that was
refused is never sent again. What a vendor says is shown, but never a key, whoever echoes it.
"""

from __future__ import annotations

import email.utils
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from polymodal.errors import ModelError, ModelUnavailable, PolymodalError

__all__ = ["Caller", "is_page", "without_keys"]

Reason = Literal["rate_limited", "overloaded", "timeout", "unreachable", "rejected", "malformed"]
Answer = TypeVar("Answer")
HTML = re.compile(r"<(!doctype|html|head|body)\b", re.IGNORECASE)

ATTEMPTS = 5
FIRST_WAIT_S, LONGEST_BACKOFF_S = 0.5, 8.0
LONGEST_WAIT_S = 60.0
"""A service that asks for more patience than this has failed."""
JITTER = 0.25
PASSING = {408, 409, 425, 429}
"""Statuses below 500 that another try can help."""
PASSING_KINDS = {"api_error", "overloaded_error", "rate_limit_error", "server_error"}
"""The same, in the words of services that notice too late for a status."""
NO_KEY, NO_MODEL = {401, 403}, {404}
BAD_KEY = "API_KEY_INVALID"
"""Google's word for a refused key, which comes with the status 400."""
LOST = ("no answer in time", "no connection")
SHOWN = 300
"""Characters of what a service says."""
STRUCK = "[struck out]"
PAGE = "an HTML page, as a proxy or a wrong address does"

sleep = time.sleep


@dataclass(frozen=True)
class _Fault:
    """A failed request, understood."""

    reason: Reason
    status: int | None
    said: str
    again: bool
    wait_s: float | None = None
    is_key: bool = False
    """The key is refused, or may not do that."""


@dataclass(frozen=True)
class Caller:
    """Makes calls for one model.

    Attributes:
        model: its name, for messages.
        unreachable: the SDK's errors that mean no answer came, beside those of its HTTP library.
        key: never shown.
        key_name: the variable that holds it, for messages.
        place: what is called: the vendor, or an address.
        near: names to suggest where there is no such model.
    """

    model: str
    unreachable: tuple[type[Exception], ...]
    key: str = field(repr=False)
    key_name: str
    place: str
    near: tuple[str, ...] = ()

    def call(self, request: Callable[[], Answer]) -> Answer:
        """What `request` returns, after as many tries as help.

        Raises:
            ModelError: this request failed.
            ModelUnavailable: every request would: the key is refused, or there is no such model.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return request()
            except PolymodalError:
                raise
            except Exception as error:  # an SDK's own, its parser's, and the network's
                fault = self._understood(error)
                # Not chained: the SDK's errors hold what the service echoed.
                self._give_up_or_wait(fault, attempt)
        raise AssertionError("unreachable")

    def stream(self, request: Callable[[], Iterator[Answer]]) -> Iterator[Answer]:
        """The same for an answer in pieces; once a piece came, a failure is final."""
        for attempt in range(1, ATTEMPTS + 1):
            begun = False
            try:
                for piece in request():
                    begun = True
                    yield piece
            except PolymodalError:
                raise
            except Exception as error:
                fault = self._understood(error)
                if begun and fault.status is None and fault.said in LOST:
                    fault = replace(fault, said=f"{fault.said} any more, within an answer,")
                self._give_up_or_wait(replace(fault, again=fault.again and not begun), attempt)
            else:
                return

    def malformed(self, what: str) -> ModelError:
        """The error for an answer that is none."""
        return ModelError(self.model, "malformed", f"{self.place} answered {what}, not an answer.")

    def misread(self, came: object) -> ModelError:
        """The same, for what the SDK passed on as it came."""
        page = isinstance(came, str) and HTML.search(came)
        return self.malformed("an HTML page" if page else "something else")

    def _give_up_or_wait(self, fault: _Fault, attempt: int) -> None:
        patient = fault.wait_s is None or fault.wait_s <= LONGEST_WAIT_S
        if not fault.again or attempt == ATTEMPTS or not patient:
            raise self._failure(fault, attempt) from None
        backoff = min(FIRST_WAIT_S * 2.0 ** (attempt - 1), LONGEST_BACKOFF_S)
        spread = random.uniform(0.0, JITTER)  # so that not all come back at once
        if fault.wait_s is not None:
            sleep(fault.wait_s + spread)
        else:
            sleep(backoff * (1.0 - spread))

    def _understood(self, error: Exception) -> _Fault:
        response = getattr(error, "response", None)
        status = getattr(error, "code", None)  # inside a stream it is the only one; a word at some
        if not isinstance(status, int):
            status = getattr(response, "status_code", None)
        if isinstance(status, int) and status >= 400:
            return self._refused(status, response, error)
        if isinstance(error, self.unreachable) or _of_transport(error):
            late = "timeout" in type(error).__name__.lower()
            said = LOST[0] if late else LOST[1]
            return _Fault("timeout" if late else "unreachable", None, said, again=True)
        if _kind(error) in PASSING_KINDS:  # inside a stream, after a status of 200
            return _Fault("overloaded", None, self._clean(_message(error)), again=True)
        if HTML.search(str(getattr(error, "doc", ""))):  # what a JSON parser was given
            return _Fault("malformed", None, "an HTML page", again=False)
        said = self._clean(f"{type(error).__name__}: {error}")
        return _Fault("malformed", None, said, again=False)

    def _refused(self, status: int, response: Any, error: Exception) -> _Fault:
        headers: Mapping[str, str] = getattr(response, "headers", None) or {}
        said = PAGE if is_page(headers) else self._clean(_message(error))
        # A used-up quota comes as 429 too, and waiting does not fill it.
        spent = status == 429 and "insufficient_quota" in f"{getattr(error, 'code', '')} {error}"
        again = (status >= 500 or status in PASSING) and not spent
        if headers.get("x-should-retry") == "false":
            again = False
        reason: Reason = "rejected"
        if status == 429:
            reason = "rate_limited"
        elif status >= 500:
            reason = "overloaded"
        elif status == 408:
            reason = "timeout"
        is_key = status in NO_KEY or (status == 400 and BAD_KEY in str(error))
        return _Fault(reason, status, said, again, _retry_after_s(headers), is_key)

    def _failure(self, fault: _Fault, attempts: int) -> PolymodalError:
        tries = "" if attempts == 1 else f" after {attempts} tries"
        where = f"{self.place} answered {fault.status}" if fault.status else self.place
        if fault.is_key:
            # A key that is known may still not do all: what it may not is in the vendor's words.
            why = f" ({fault.said})" if fault.status == 403 else ""
            return ModelUnavailable(
                f"{self.model}: {where}: the key in {self.key_name} was refused{why}. Check it, or"
                " make a new one with the vendor."
            )
        if fault.status in NO_MODEL:
            address = ", and the address: most end in /v1" if "://" in self.place else ""
            return ModelUnavailable(
                f"{self.model}: {where}: no such model there ({fault.said}). Check the name"
                f"{address}.{_near(self.near)}"
            )
        if fault.reason in {"timeout", "unreachable"}:
            text = f"{fault.said} from {self.place}{tries}."
            return ModelError(self.model, fault.reason, text)
        if fault.reason == "malformed":
            text = f"{self.place} answered what cannot be read: {fault.said}"
            return ModelError(self.model, "malformed", text)
        waits = fault.wait_s
        if waits is not None and waits > LONGEST_WAIT_S:
            tries += f", and asks to wait {waits:.0f} s"
        return ModelError(self.model, fault.reason, f"{where}{tries}: {fault.said}")

    def _clean(self, text: str) -> str:
        text = without_keys(" ".join(text.split()), self.key)
        if HTML.search(text):
            return PAGE
        return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def is_page(headers: Mapping[str, str]) -> bool:
    """Whether what came is said to be HTML."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "text/html"


def without_keys(text: str, key: str) -> str:
    """`text` without `key`."""
    return text.replace(key, STRUCK) if key else text


def _near(names: tuple[str, ...]) -> str:
    return f" Did you mean {' or '.join(map(repr, names))}?" if names else ""


def _of_transport(error: Exception) -> bool:
    """Whether it is one of httpx's (or its successor's), which SDKs let through now and then."""
    return any(
        kind.__name__ == "TransportError" and kind.__module__.startswith("httpx")
        for kind in type(error).__mro__
    )


def _message(error: Exception) -> str:
    """What the service said, without what the SDK puts around it."""
    inner = _body(error)
    message = inner.get("message") if isinstance(inner, Mapping) else inner
    return str(message or getattr(error, "message", None) or error)


def _kind(error: Exception) -> str:
    """The service's own word for a failure."""
    inner = _body(error)
    return str(inner.get("type") or "") if isinstance(inner, Mapping) else ""


def _body(error: Exception) -> Any:
    """What the service answered, as far as it is JSON: the error in it, or nothing."""
    body = getattr(error, "body", None) or getattr(error, "details", None)
    return body.get("error", body) if isinstance(body, Mapping) else None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the service asks to wait: `retry-after-ms`, or `retry-after` (seconds, date)."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        if (given := headers.get("retry-after")) is None:
            return None
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", given):
            return float(given)
        return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
