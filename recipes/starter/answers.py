"""How far answers can be trusted: fitted on half of dev, reported on the other half.

    python -m recipes.starter.answers --data DIR --model DIR --cache FILE [--write] [--plot FILE]

Notable: two fits, both small. A conditional logit a kind of question weighs what the decoder and
the embedder say of the candidates (two weights; for yes and no a bias too); a logistic function
turns the best candidate's log-odds into a confidence. Halves are split by photograph, and the
questions of one half are only ever scored by what was fitted on the other. `--write` puts the
numbers into the captioner's card. What was tried: LOG-answers.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from polymodal.models.describing import AnswerCalibration, AnswerWeights
from polymodal.tasks.calibration import softmax
from polymodal.tasks.grounding import (
    LIKELY_THERE,
    Weighed,
    features,
    logits,
    looks_there,
    margins,
    moved,
    normalized,
    presence,
    weigh,
)
from recipes.starter import card, data, manifest, questions
from recipes.starter.answerdata import Row, kept
from recipes.starter.captionscores import most_frequent, question_only

COVERAGES = (100, 90, 80, 70, 60, 50)
Floats = NDArray[np.float64]
THERE = (0.05, 0.1, 0.15, LIKELY_THERE, 0.25, 0.3, 0.4, 0.5)
"""Probabilities from which a thing could be said to look like it is there."""
EVEN = AnswerWeights(1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def halves(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Rows of either half of the photographs."""
    photographs = sorted({row.photograph for row in rows})
    shuffled = np.random.default_rng(0).permutation(photographs)
    first = set(shuffled[: len(shuffled) // 2].tolist())
    return [r for r in rows if r.photograph in first], [
        r for r in rows if r.photograph not in first
    ]


def seen(row: Row) -> Floats:
    """What the embedder says of the candidates."""
    return margins(row.kind, row.cosines, row.others)  # type: ignore[arg-type]


def loss(row: Row, weights: AnswerWeights, *, alone: bool) -> float:
    """Negative log-probability of the right answer."""
    said = normalized(row.logprobs)
    values = logits(row.kind, said, seen(row), weights, alone=alone)  # type: ignore[arg-type]
    return -float(np.log(softmax(values)[row.candidates.index(row.answer)] + 1e-12))


def fit_weights(rows: Sequence[Row], kind: str) -> AnswerWeights:
    """The conditional logits of a kind: with the decoder, and of the embedder alone."""
    rows = [row for row in rows if row.kind == kind and row.answer in row.candidates]
    biased = kind == "yesno"

    def both(x: Floats) -> float:
        weights = AnswerWeights(x[0], x[1], x[2] if biased else 0.0, 0.0, 0.0, 0.0)
        return float(np.mean([loss(row, weights, alone=False) for row in rows])) + 1e-5 * x[1] ** 2

    def single(x: Floats) -> float:
        weights = AnswerWeights(0.0, 0.0, 0.0, x[0], x[1] if biased else 0.0, 0.0)
        return float(np.mean([loss(row, weights, alone=True) for row in rows])) + 1e-5 * x[0] ** 2

    options = {"xatol": 0.02, "fatol": 1e-4, "maxiter": 250}
    a = minimize(both, np.array([1.0, 5.0, 0.0]), method="Nelder-Mead", options=options).x
    b = minimize(single, np.array([15.0, 0.0]), method="Nelder-Mead", options=options).x
    return AnswerWeights(a[0], a[1], a[2] * biased, b[0], b[1] * biased, 0.0)


def fit(rows: Sequence[Row]) -> AnswerCalibration:
    """All numbers of the card."""
    kinds = {kind: fit_weights(rows, kind) for kind in questions.KINDS}
    found = [judged(row, AnswerCalibration(kinds)) for row in rows]
    inputs = np.array([features(w.share[0], w.said[0], w.seen[0]) for w in found])
    which = np.array([questions.KINDS.index(row.kind) for row in rows])
    right = np.array([w.answers[0] == r.answer for w, r in zip(found, rows, strict=True)], float)

    def nll(x: Floats) -> float:
        z = inputs @ x[:3] + x[3 + which]
        chance = np.logaddexp(0, -z) * right + np.logaddexp(0, z) * (1 - right)
        return float(chance.mean()) + 1e-3 * float(
            ((x[:3] - [1, 0, 0]) ** 2).sum() + (x[3:] ** 2).sum()
        )

    x = minimize(nll, np.r_[1.0, np.zeros(2 + len(questions.KINDS))], method="BFGS").x
    trusted = {
        kind: AnswerWeights(
            **{k: round(float(v), 4) for k, v in {**asdict(w), "trust": x[3 + n]}.items()}
        )
        for n, (kind, w) in enumerate(kinds.items())
    }
    return AnswerCalibration(trusted, *(round(float(v), 4) for v in x[:3]))


def there(row: Row) -> Floats:
    """What the embedder says of the thing that is asked about: `margins` of whether it is there."""
    return margins("yesno", [row.there, row.there], row.others)


def judged(row: Row, calibration: AnswerCalibration, likely_there: float = LIKELY_THERE) -> Weighed:
    """The answer as `polymodal ask` gives it."""
    found = weigh(row.kind, row.candidates, row.logprobs, seen(row), calibration)  # type: ignore[arg-type]
    likely = presence(row.kind, there(row), calibration, likely_there)  # type: ignore[arg-type]
    return replace(found, confidence=found.confidence * likely)


@dataclass(frozen=True)
class Scored:
    """Confidence and whether it was right, for every question."""

    confidence: Floats
    right: NDArray[np.bool_]

    def at(self, coverage: float) -> float:
        """Accuracy in per cent over the surest share of the questions."""
        order = np.argsort(-self.confidence, kind="stable")
        count = max(1, round(len(order) * coverage / 100))
        return 100 * float(self.right[order[:count]].mean())

    @property
    def area(self) -> float:
        """Mean accuracy over all coverages: the area under the curve, in per cent."""
        order = np.argsort(-self.confidence, kind="stable")
        curve = np.cumsum(self.right[order]) / np.arange(1, len(order) + 1)
        return 100 * float(curve.mean())

    @property
    def error(self) -> float:
        """Expected calibration error over ten bins of equal counts, in points."""
        order = np.argsort(self.confidence)
        parts = np.array_split(order, 10)
        far = [abs(self.confidence[p].mean() - self.right[p].mean()) * len(p) for p in parts]
        return 100 * float(sum(far) / len(order))


def by_decoder(rows: Sequence[Row]) -> Scored:
    """The decoder's first answer and its own probability."""
    said = [float(np.exp(max(r.logprobs[r.candidates.index(r.said)], -30))) for r in rows]
    return Scored(np.array(said), np.array([row.said == row.answer for row in rows]))


def by_both(
    rows: Sequence[Row], calibration: AnswerCalibration, likely_there: float = LIKELY_THERE
) -> Scored:
    """As shipped."""
    found = [judged(row, calibration, likely_there) for row in rows]
    right = [w.answers[0] == row.answer for w, row in zip(found, rows, strict=True)]
    return Scored(np.array([w.confidence for w in found]), np.array(right))


def by_stranger(rows: Sequence[Row], calibration: AnswerCalibration) -> tuple[Scored, Scored]:
    """A made-up model, right four times in five, that does not say how sure it is.

    Its wrong answers are the decoder's best wrong ones. Unchecked, and moved by the picture.
    """
    rng = np.random.default_rng(0)
    flat, checked, right = [], [], []
    for row in (each for each in rows if each.answer in each.candidates):
        order = np.argsort(-np.array(row.logprobs))
        wrong = next(row.candidates[i] for i in order if row.candidates[i] != row.answer)
        says = row.answer if rng.random() < 0.8 else wrong
        weights = calibration.kinds[row.kind]
        looks = seen(row)
        values = logits(row.kind, looks * 0, looks, weights, alone=True)  # type: ignore[arg-type]
        checked.append(moved(0.8, softmax(values), row.candidates.index(says)))
        flat.append(0.8)
        right.append(says == row.answer)
    return Scored(np.array(flat), np.array(right)), Scored(np.array(checked), np.array(right))


def report(
    train: Sequence[questions.Asked], rows: Sequence[Row], calibration: AnswerCalibration
) -> str:
    """Tables for the half that nothing was fitted on, in Markdown."""
    asked = [questions.Asked(r.photograph, r.kind, r.question, r.answer) for r in rows]
    frequent, blind = most_frequent(train, asked), question_only(train, asked)
    lines = ["| question | questions | most frequent | question only | decoder | with the picture"
             " checked |", "|---|---|---|---|---|---|"]  # fmt: skip
    for kind in (*questions.KINDS, "all"):
        part = [row for row in rows if kind in {row.kind, "all"}]
        own, both = (100 * s.right.mean() for s in (by_decoder(part), by_both(part, calibration)))
        lines.append(
            f"| {kind} | {len(part)} | {frequent[kind]:.1f} | {blind[kind]:.1f} | {own:.1f}"
            f" | {both:.1f} |"
        )
    decoder, shipped = by_decoder(rows), by_both(rows, calibration)
    lines += ["", "| coverage | decoder's probability | shipped confidence |", "|---|---|---|"]
    lines += [f"| {c} % | {decoder.at(c):.1f} | {shipped.at(c):.1f} |" for c in COVERAGES]
    lines.append(f"| area under the curve | {decoder.area:.1f} | {shipped.area:.1f} |")
    lines.append(f"| calibration error | {decoder.error:.1f} | {shipped.error:.1f} |")
    given = shipped.confidence >= calibration.threshold
    lines += [
        "",
        f"At the threshold of {calibration.threshold:g}: {100 * given.mean():.1f} % are answered,"
        f" {100 * shipped.right[given].mean():.1f} % of them right.",
    ]
    lines += ["", *presence_table(rows, calibration), ""]
    flat, checked = by_stranger(rows, calibration)
    lines.append(
        f"A made-up model that is right in {100 * flat.right.mean():.1f} %: its surest half, after"
        f" the check, is right in {checked.at(50):.1f} % (area {checked.area:.1f})."
    )
    return "\n".join(lines)


def presence_table(rows: Sequence[Row], calibration: AnswerCalibration) -> list[str]:
    """What `LIKELY_THERE` buys and costs: things that pass it, and the answers about things.

    What is there, and what is not, is what the yes-or-no questions ask; the other questions are
    all about things that are there, so what they lose is the price.
    """
    asked = [row for row in rows if row.kind == "yesno"]
    looks = np.array([looks_there(there(row), calibration.kinds["yesno"]) for row in asked])
    is_there = np.array([row.answer == "yes" for row in asked])
    others = [row for row in rows if row.kind != "yesno"]
    lines = ["| a thing looks there from | of those there | of those not there | questions about"
             " things answered | of these right | area under the curve | calibration error |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for likely in THERE:
        scored, whole = by_both(others, calibration, likely), by_both(rows, calibration, likely)
        given = scored.confidence >= calibration.threshold
        passed = [100 * float((looks[which] >= likely).mean()) for which in (is_there, ~is_there)]
        lines.append(
            f"| {likely:g} | {passed[0]:.1f} | {passed[1]:.1f} | {100 * given.mean():.1f}"
            f" | {100 * scored.right[given].mean():.1f} | {whole.area:.1f} | {whole.error:.1f} |"
        )
    return lines


def plot(rows: Sequence[Row], calibration: AnswerCalibration, path: Path) -> None:
    """Coverage against accuracy as SVG: the decoder by its own probability, and as shipped."""
    curves = (
        (by_decoder(rows), "the model, by its own probability", "#b06a2c", "6 4"),
        (by_both(rows, calibration), "checked against the picture (as shipped)", "#2a6fb0", ""),
    )
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 400" font-size="13"'
        ' font-family="sans-serif"><rect width="640" height="400" fill="#fff"/>'
    ]
    for tick in range(50, 101, 10):
        y = _y(tick)
        parts.append(f'<path d="M60 {y}H620" stroke="#ddd"/>')
        parts.append(f'<text x="52" y="{y + 4}" text-anchor="end">{tick}</text>')
    parts += [
        f'<text x="{_x(tick)}" y="362" text-anchor="middle">{tick}</text>'
        for tick in range(0, 101, 10)
    ]
    for place, (scored, label, color, dashes) in enumerate(curves):
        points = " ".join(
            f"{_x(coverage):.1f},{_y(scored.at(coverage)):.1f}" for coverage in range(2, 101)
        )
        line = f'fill="none" stroke="{color}" stroke-width="2.5" stroke-dasharray="{dashes}"'
        y = 312 + 20 * place
        parts.append(f'<polyline points="{points}" {line}/><path d="M80 {y}h36" {line}/>')
        parts.append(f'<text x="124" y="{y + 4}">{label}</text>')
    parts.append('<text x="340" y="388" text-anchor="middle">questions answered, %</text>')
    parts.append('<text transform="translate(18 190) rotate(-90)" text-anchor="middle">')
    parts.append("of these right, %</text></svg>")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _x(coverage: float) -> float:
    return 60 + 5.6 * coverage


def _y(accuracy: float) -> float:
    return 20 + 6.4 * (100 - accuracy)


def write(calibration: AnswerCalibration, folder: Path) -> None:
    """Put the numbers into the captioner's card, in place of what was there, and sign it anew."""
    path = folder / "captioner" / "card.toml"
    parts = path.read_text(encoding="utf-8").split("\n\n")
    others = [part.rstrip("\n") for part in parts if not part.startswith("[calibration")]
    whole: dict[str, object] = {
        "threshold": calibration.threshold,
        "share": calibration.share,
        "decoder": calibration.decoder,
        "embedder": calibration.embedder,
    }
    kinds = {f"calibration.{kind}": asdict(w) for kind, w in calibration.kinds.items()}
    sections = {"calibration": whole, **kinds}
    new = [card.section(name, values).rstrip("\n") for name, values in sections.items()]
    path.write_text("\n\n".join([*others, *new]) + "\n", encoding="utf-8")
    manifest.write(folder)


def main() -> None:
    """Fit, report, and where asked write and draw."""
    parser = argparse.ArgumentParser(description="Fit how far answers can be trusted.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="a folder of the starter's files")
    parser.add_argument("--cache", type=Path, required=True, help="of recipes.starter.answerdata")
    parser.add_argument("--write", action="store_true", help="into the captioner's card")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows = kept(options.data, options.model, "dev", options.cache)
    fitted_on, held_out = halves(rows)
    calibration = fit(fitted_on)
    train = questions.derive(data.flickr(options.data, "train").captions)
    print(report(train, held_out, calibration))
    if options.plot:
        plot(held_out, calibration, options.plot)
    if options.write:
        write(calibration, options.model)


if __name__ == "__main__":
    main()
