"""A local server that speaks like the vendors: it checks requests, and answers as it is told.

Notable: `service.plan` holds what the next requests get, one each ("rate_limited", "html", ...);
after that every request is answered. A request outside its vendor's format is answered with 400 and
noted in `problems`, which the fixture asserts to be empty.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.api.formats import in_camel_case, problems_of

HTML = "<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
PROMPT_TOKENS, TOKENS = 1000, 20
AUDIO_TOKENS = 7
"""Of the prompt's, where sound is sent."""
LOGPROB = -0.1
CUT = "A cut"
REFUSAL = "I cannot help with that."


@dataclass
class Received:
    """One request."""

    vendor: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Service:
    """What the server does, and what it saw."""

    url: str = ""
    says: Callable[[Received], str] = lambda received: "A red square."
    plan: list[str] = field(default_factory=list)
    retry_after: str = "2"
    received: list[Received] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    gate: threading.Barrier | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, received: Received) -> str:
        """Note a request, and how to answer it."""
        with self.lock:
            self.received.append(received)
            found = problems_of(received.vendor, received.headers, received.body)
            self.problems += found
            if found:
                return "bad_request"
            return self.plan.pop(0) if self.plan else "plain"


@contextmanager
def served() -> Iterator[Service]:
    """A service on a free port."""
    service = Service()
    handler = type("Handler", (_Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    service: Service
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        vendor = _vendor(self.path)
        if vendor is None:
            self._send(404, {"error": {"message": f"no path {self.path}"}})
            return
        body = json.loads(content)
        if vendor == "gemini":
            body = in_camel_case(body)
        received = Received(vendor, self.path, headers, body)
        service = self.service
        with service.lock:
            service.at_once += 1
            service.most_at_once = max(service.most_at_once, service.at_once)
        try:
            if service.gate is not None:
                service.gate.wait(10)
            self._answer(received, service.next(received))
        finally:
            with service.lock:
                service.at_once -= 1

    def _answer(self, received: Received, how: str) -> None:
        if how in FAILURES:
            status, kind, message = FAILURES[how]
            if how == "overloaded" and received.vendor != "anthropic":
                status = 503
            key = received.headers.get("x-api-key") or received.headers.get("x-goog-api-key")
            key = key or received.headers.get("authorization", "").removeprefix("Bearer ")
            error = _error(received.vendor, status, kind, message.format(key=key))
            headers = {"retry-after": self.service.retry_after} if how == "rate_limited" else {}
            self._send(status, error, headers)
        elif how == "bad_key":  # as Google refuses one
            detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo"}
            error = _error("gemini", 400, "invalid_argument", "API key not valid.")
            error["error"]["details"] = [{**detail, "reason": "API_KEY_INVALID"}]
            self._send(400, error)
        elif how == "html":
            self._send(200, HTML, content_type="text/html")
        elif how == "html_error":
            self._send(400, HTML, content_type="text/html")
        elif how == "malformed":
            self._send(200, '{"id": "1", "content": [{"typ')
        elif how == "empty":
            self._send(200, {})
        elif how == "dropped":
            self.close_connection = True
            self.connection.close()
        else:
            self._speak(received, how)

    def _speak(self, received: Received, how: str) -> None:
        text = {"truncated": CUT, "refused": REFUSAL}.get(how) or self.service.says(received)
        streamed = received.body.get("stream") or "streamGenerateContent" in received.path
        if not streamed:
            whole = WHOLE[received.vendor](received, text, how)
            if how == "uncounted":
                whole = {k: v for k, v in whole.items() if k not in {"usage", "usageMetadata"}}
            self._send(200, whole)
            return
        events = PIECES[received.vendor](received, text, how)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        if how == "cut_stream":
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if how == "late":  # a failure that is noticed after the status was sent
            events = iter([_error(received.vendor, 503, LATE[received.vendor], "Overloaded.")])
        for event in events:
            name = f"event: {event['type']}\n" if received.vendor == "anthropic" else ""
            data = f"{name}data: {json.dumps(event)}\n\n".encode()
            if how == "cut_stream":
                data = b"%x\r\n%s\r\n" % (len(data), data)
            self.wfile.write(data)
            self.wfile.flush()
            if how == "broken_stream" and _said(event):
                break
            if how == "cut_stream" and _said(event):
                self.wfile.write(b"3e8\r\n")  # a chunk that never comes
                break
        else:
            if received.vendor == "openai":
                self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _send(
        self,
        status: int,
        content: Any,
        headers: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> None:
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


FAILURES = {
    "rate_limited": (429, "rate_limit_error", "Slow down."),
    "overloaded": (529, "overloaded_error", "Overloaded."),
    "broken": (500, "api_error", "Internal error."),
    "forbidden": (403, "permission_error", "Not in your region; {key} is a fine key."),
    "revoked": (401, "authentication_error", "Incorrect API key provided: {key}."),
    "echoed": (400, "invalid_request_error", "I was sent {key}, which I will not keep."),
    "unknown_model": (404, "not_found_error", "model: no such one"),
    "bad_request": (400, "invalid_request_error", "the prompt is too long: 300000 tokens"),
    "quota": (429, "insufficient_quota", "You exceeded your current quota."),
}


LATE = {"anthropic": "overloaded_error", "openai": "server_error", "gemini": "unavailable"}


def _vendor(path: str) -> str | None:
    if path.partition("?")[0] == "/v1/messages":
        return "anthropic"
    if path == "/v1/chat/completions":
        return "openai"
    return "gemini" if re.match(r"/v1(beta)?/models/", path) else None


def _error(vendor: str, status: int, kind: str, message: str) -> dict[str, Any]:
    if vendor == "anthropic":
        return {"type": "error", "error": {"type": kind, "message": message}}
    if vendor == "openai":
        return {"error": {"message": message, "type": kind, "code": kind, "param": None}}
    return {"error": {"code": status, "message": message, "status": kind.upper()}}


def _anthropic_whole(received: Received, text: str, how: str) -> dict[str, Any]:
    reason = {"truncated": "max_tokens", "refused": "refusal"}.get(how, "end_turn")
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": received.body["model"],
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "x"},
            {"type": "text", "text": text},
        ],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": TOKENS},
    }


def _anthropic_pieces(received: Received, text: str, how: str) -> Iterator[dict[str, Any]]:
    whole = _anthropic_whole(received, text, how)
    usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": 1}
    start = {**whole, "content": [], "stop_reason": None, "usage": usage}
    yield {"type": "message_start", "message": start}
    block = {"type": "text", "text": ""}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    for piece in _pieces(text):
        delta = {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
        "usage": {"output_tokens": TOKENS},
    }
    yield {"type": "message_stop"}


def _openai_whole(received: Received, text: str, how: str) -> dict[str, Any]:
    refused = how == "refused"
    message = {
        "role": "assistant",
        "content": None if refused else text,
        "refusal": text if refused else None,
    }
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "length" if how == "truncated" else "stop",
        "logprobs": _openai_logprobs(received),
    }
    head = _openai_head(received, "chat.completion")
    return {**head, "choices": [choice], "usage": _openai_usage(received)}


def _openai_pieces(received: Received, text: str, how: str) -> Iterator[dict[str, Any]]:
    head = _openai_head(received, "chat.completion.chunk")
    name = "refusal" if how == "refused" else "content"
    for piece in _pieces(text):
        yield {**head, "choices": [{"index": 0, "delta": {name: piece}, "finish_reason": None}]}
    reason = "length" if how == "truncated" else "stop"
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    yield {**head, "choices": [], "usage": _openai_usage(received)}


def _openai_head(received: Received, kind: str) -> dict[str, Any]:
    return {"id": "c1", "object": kind, "created": 1, "model": received.body["model"]}


def _openai_logprobs(received: Received) -> dict[str, Any] | None:
    if not received.body.get("logprobs"):
        return None
    token = {"token": "x", "logprob": LOGPROB, "bytes": None, "top_logprobs": []}
    return {"content": [token] * TOKENS, "refusal": None}


def _openai_usage(received: Received) -> dict[str, Any]:
    if "input_audio" not in str(received.body["messages"]):
        return USAGE
    kinds = {"audio_tokens": AUDIO_TOKENS, "text_tokens": PROMPT_TOKENS - AUDIO_TOKENS}
    return {**USAGE, "prompt_tokens_details": kinds}


USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": TOKENS,
    "total_tokens": PROMPT_TOKENS + TOKENS,
}


def _gemini_whole(received: Received, text: str, how: str) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "promptTokenCount": PROMPT_TOKENS,
        "candidatesTokenCount": TOKENS - 5,
        "thoughtsTokenCount": 5,
    }
    if "audio/wav" in str(received.body["contents"]):
        kinds = {"TEXT": PROMPT_TOKENS - AUDIO_TOKENS, "AUDIO": AUDIO_TOKENS}
        usage["promptTokensDetails"] = [
            {"modality": kind, "tokenCount": count} for kind, count in kinds.items()
        ]
    if how == "refused":
        return {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage}
    parts = [{"text": "Hm.", "thought": True}, {"text": text}]
    reason = "MAX_TOKENS" if how == "truncated" else "STOP"
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage}


def _gemini_pieces(received: Received, text: str, how: str) -> Iterator[dict[str, Any]]:
    whole = _gemini_whole(received, text, how)
    if how == "refused":
        yield whole
        return
    for piece in _pieces(text):
        yield {"candidates": [{"content": {"role": "model", "parts": [{"text": piece}]}}]}
    (candidate,) = whole["candidates"]
    last = {**candidate, "content": {"role": "model", "parts": [{"text": ""}]}}
    yield {"candidates": [last], "usageMetadata": whole["usageMetadata"]}


def _pieces(text: str) -> list[str]:
    """Three of them, or as many as there are characters."""
    third = max(1, len(text) // 3)
    return [text[:third], text[third : 2 * third], text[2 * third :]]


def _said(event: dict[str, Any]) -> bool:
    return event.get("type", "content_block_delta") == "content_block_delta"


WHOLE = {"anthropic": _anthropic_whole, "openai": _openai_whole, "gemini": _gemini_whole}
PIECES = {"anthropic": _anthropic_pieces, "openai": _openai_pieces, "gemini": _gemini_pieces}
