"""A model run on somebody's own labelled data: its score, how long an item takes, what it takes.

Notable: an item that fails counts as wrong, so a model is not better for failing on the hard ones.
An answer that was cut off, or refused, has failed: "not sure" is said only where the model said so.
Items are asked one at a time, after one that only loads the model, so that the times are those of a
request. Cache and journal are off: what is measured is the model.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from polymodal.catalog.choices import WRITING
from polymodal.catalog.names import is_generator_name
from polymodal.choosing.data import Data, Labelled
from polymodal.choosing.reasons import LONGER
from polymodal.choosing.scoring import METRICS, anls, edits, exact, mean_interval, rouge_l, words_of
from polymodal.errors import InvalidAnswer, PolymodalError, UsageError
from polymodal.models.messages import GenerationOptions
from polymodal.models.trust import NOTHING, Trust
from polymodal.runtime.measurements import Measurement, today
from polymodal.suite import Suite
from polymodal.tasks.answering_generators import options_for
from polymodal.tasks.caption_generators import own_options

__all__ = ["Outcome", "Run", "Setting", "measure"]

POLICY = "safe-for-shop"
APPROVED = {"approve", "approved", "ok", "good", "yes", "true", "1"}
REJECTED = {"reject", "rejected", "bad", "no", "false", "0"}
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Setting:
    """Which model, in which numbers it is held, and how long its answers may be.

    Attributes:
        max_tokens: of an answer of a model that writes; the verb's own by default.
        memory: what it may take, as `Suite` takes it.
        trust: whether a checkpoint's pickles and code may be used.
    """

    model: str
    device: str = "auto"
    dtype: str = "auto"
    quantize: str | None = None
    max_tokens: int | None = None
    memory: int | str | None = None
    trust: Trust = NOTHING

    @property
    def precision(self) -> str:
        """What was asked for; "" for the model's own."""
        parts = [self.dtype if self.dtype != "auto" else "", self.quantize or ""]
        return " ".join(filter(None, parts))


@dataclass(frozen=True)
class Outcome:
    """What a model said of an item; "" where it failed. `weight` is 1, or words of a transcript.

    Attributes:
        error: why it failed; "" where it did not.
        truncated: it failed since the answer was cut off at its limit of tokens.
    """

    answer: str
    score: float
    weight: float = 1.0
    seconds: float = 0.0
    error: str = ""
    truncated: bool = False


@dataclass(frozen=True)
class Run:
    """All outcomes, in the data's order, and what loading took."""

    measurement: Measurement
    outcomes: tuple[Outcome, ...]


def measure(setting: Setting, task: str, data: Data, tell: Tell = lambda done, total: None) -> Run:
    """Run one model over the data.

    Raises:
        PolymodalError: the model cannot be loaded at all, or failed on every item.
    """
    speech = task == "transcribe"
    suite = Suite(
        "starter" if speech else setting.model,
        transcriber=setting.model if speech else "starter",
        device=setting.device,
        cache=False,
        journal=False,
        dtype=setting.dtype,
        quantize=setting.quantize,
        memory=setting.memory,
        allow_pickle=setting.trust.pickles,
        allow_remote_code=setting.trust.code,
    )
    options = _options(setting, task)
    ask = _asker(suite, task, data, options)
    _asked(ask, data.items[0], speech)  # loads the model
    if task == "few-shot":
        outcomes = _few_shot(suite, data)
    elif task == "search":
        outcomes = _search(suite, data, tell)
    else:
        outcomes = _each(ask, data, speech, tell)
    failed = [each for each in outcomes if each.error]
    if len(failed) == len(outcomes):
        raise UsageError(f"{setting.model} failed on every item: {_first(failed)}")
    memory = _memory(suite, setting.model, lambda: _asked(ask, data.items[0], speech))
    value, low, high = mean_interval(
        [each.score for each in outcomes], [each.weight for each in outcomes]
    )
    times = sorted(each.seconds for each in outcomes if not each.error)
    return Run(
        Measurement(
            model=setting.model,
            task=task,
            metric=METRICS[task],
            value=value,
            low=low,
            high=high,
            count=len(outcomes),
            failed=len(failed),
            latency_ms=1000 * statistics.median(times),
            latency_p95_ms=1000 * times[min(len(times) - 1, int(0.95 * len(times)))],
            memory_bytes=memory,
            data=data.name,
            fingerprint=data.fingerprint,
            date=today(),
            precision=setting.precision,
            truncated=sum(each.truncated for each in outcomes),
            max_tokens=0 if options is None else options.max_tokens,
        ),
        tuple(outcomes),
    )


def _options(setting: Setting, task: str) -> GenerationOptions | None:
    """How a model that writes answers; None for the others, whose answers have no limit."""
    if task not in WRITING or not is_generator_name(setting.model):
        return None
    own = own_options("plain") if task == "caption" else options_for(None)
    return own if setting.max_tokens is None else own.replace(max_tokens=setting.max_tokens)


def _first(failed: Sequence[Outcome]) -> str:
    """Why the first one failed, and what helps."""
    helps = f" {LONGER}." if failed[0].truncated else ""
    return f"{failed[0].error.rstrip('.')}.{helps}"


def _memory(suite: Suite, model: str, once: Callable[[], object]) -> int:
    """What loading the model takes, without the starter that checks answers.

    It is loaded anew for that: at the first time the libraries' own memory comes with it.
    """
    suite.unload()
    once()
    parts = suite.models()
    own = [each for each in parts if each.model == model] or parts
    suite.unload()
    return sum(each.host_bytes + each.device_bytes for each in own)


Ask = Callable[[Labelled], Outcome]


def _each(ask: Ask, data: Data, speech: bool, tell: Tell) -> list[Outcome]:
    found = []
    for done, item in enumerate(data.items, 1):
        found.append(_asked(ask, item, speech))
        tell(done, len(data.items))
    return found


def _asked(ask: Ask, item: Labelled, speech: bool) -> Outcome:
    start = time.perf_counter()
    try:
        found = ask(item)
    except PolymodalError as error:
        if error.exit_code == 3:  # the model is not there: nothing to measure
            raise
        if speech:  # nothing was heard, so every word is missing
            return Outcome("", 1.0, float(max(1, len(words_of(item.truths[0])))), 0.0, str(error))
        cut_off = isinstance(error, InvalidAnswer) and error.reason == "truncated"
        return Outcome("", 0.0, error=str(error), truncated=cut_off)
    return replace(found, seconds=time.perf_counter() - start)


def _asker(suite: Suite, task: str, data: Data, options: GenerationOptions | None) -> Ask:
    """What is asked of one item, by task."""
    if task in {"few-shot", "search"}:  # which are scored over all items together

        def embed(item: Labelled) -> Outcome:
            suite.embed(images=[item.path], texts=item.truths)
            return Outcome("", 0.0)

        return embed
    if task == "classify":
        labels = data.labels

        def classify(item: Labelled) -> Outcome:
            label = suite.classify(item.path, labels).label or ""
            return Outcome(label, float(label in item.truths))

        return classify
    if task == "moderate":
        return lambda item: _moderated(suite, item)
    if task == "caption":

        def caption(item: Labelled) -> Outcome:
            text = suite.caption(item.path, options=options).text
            return Outcome(text, rouge_l(text, item.truths))

        return caption
    if task == "transcribe":
        return lambda item: _heard(suite, item)
    score = anls if task == "document" else exact

    def ask(item: Labelled) -> Outcome:
        found = suite.ask(item.path, item.question, threshold=0.0, grounded=False, options=options)
        if found.failure is not None:
            why = found.evidence[0].text
            return Outcome("", 0.0, error=why, truncated=found.failure == "truncated")
        return Outcome(found.text, score(found.text, item.truths))

    return ask


def _moderated(suite: Suite, item: Labelled) -> Outcome:
    truth = item.truths[0].lower()
    if truth not in APPROVED | REJECTED:
        raise UsageError(
            f"{item.path}: {item.truths[0]!r} is neither approve nor reject, by which moderation"
            " is measured."
        )
    approved = suite.moderate(item.path, POLICY).approved
    return Outcome("approve" if approved else "reject", float(approved == (truth in APPROVED)))


def _heard(suite: Suite, item: Labelled) -> Outcome:
    text = suite.transcribe(item.path).text
    right = words_of(item.truths[0])
    return Outcome(text, edits(right, words_of(text)) / max(1, len(right)), max(1, len(right)))


def _few_shot(suite: Suite, data: Data) -> list[Outcome]:
    """Right or wrong in cross-validation; which picture is which is not told, so nor are answers.

    The time of an item is that of its features.
    """
    classes: dict[str, list[Path]] = {}
    for item in data.items:
        classes.setdefault(item.truths[0], []).append(item.path)
    start = time.perf_counter()
    report = suite.probe(classes).report
    seconds = (time.perf_counter() - start) / len(data.items)
    right = round(report.accuracy * sum(report.images.values()))
    failed = len(data.items) - sum(report.images.values())
    scores = [1.0] * right + [0.0] * (len(data.items) - right - failed)
    outcomes = [Outcome("", score, seconds=seconds) for score in scores]
    return outcomes + [Outcome("", 0.0, error="cannot be opened")] * failed


def _search(suite: Suite, data: Data, tell: Tell) -> list[Outcome]:
    """For each text, whether the picture nearest to it is its own."""
    vectors, seconds, errors = [], [], []
    for done, item in enumerate(data.items, 1):
        start = time.perf_counter()
        (found,) = suite.embed(images=[item.path]).items
        seconds.append(time.perf_counter() - start)
        vectors.append(getattr(found, "vector", None))
        errors.append(str(getattr(found, "reason", "")))
        tell(done, len(data.items))
    there = [place for place, vector in enumerate(vectors) if vector is not None]
    if not there:
        return [Outcome("", 0.0, error=error) for error in errors]
    pictures = np.stack([np.asarray(vectors[place]) for place in there])
    texts = suite.embed(texts=[item.truths[0] for item in data.items]).vectors
    outcomes = []
    for place, item in enumerate(data.items):
        if vectors[place] is None:
            outcomes.append(Outcome("", 0.0, error=errors[place]))
            continue
        nearest = data.items[there[int((pictures @ texts[place]).argmax())]]
        right = float(nearest.path == item.path)
        outcomes.append(Outcome(nearest.path.name, right, 1.0, seconds[place]))
    return outcomes
