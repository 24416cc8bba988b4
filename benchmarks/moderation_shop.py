"""How well `safe-for-shop` judges: what captions say is in a photograph, against the verdict.

    python -m benchmarks.moderation_shop --data ../shared/data

Nobody labelled these photographs for moderation. Of Flickr8k dev, a photograph meets a criterion
when two or more of its five captions name it, and does not when none does; one caption alone is
left out, as too unsure. Toy guns, water pistols and foam swords are weapons here, since captions
call them so. Photographs of undressed children are left out of everything. Where fewer than `FEW`
photographs meet a criterion, it is not measured, and the table says so. The second table is what a
shop feels: pictures that should all be approved, and what turned some of them away. The policy's
thresholds were chosen on the training splits (`--split train`, whose captions the model has seen);
the tables in docs/moderation.md are from dev.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import polymodal as pm
from polymodal.tasks.policy import open_policy

Doubles = NDArray[np.float64]

SAID = {
    "weapon": re.compile(
        r"\b(guns?|handguns?|shotguns?|rifles?|pistols?|firearms?|weapons?|swords?|daggers?"
        r"|machetes?|spears?|crossbows?|bow and arrows?|archer(s|y)?)\b"
    ),
    "nudity": re.compile(r"\b(naked|nude|unclothed)\b"),
    "violence": re.compile(r"\b(blood|bloody|bleeding|wounds?|wounded|injured)\b"),
}
"""Criterion to the words that name it in a caption."""
LIKE_IT = {
    "play fights, boxing, wrestling": re.compile(r"\b(fight\w*|punch\w*|box(ing|ers?)|wrestl\w*)"),
    "swimwear and bare chests": re.compile(
        r"\b(shirtless|bare[- ]?chest\w*|bikinis?|swimsuits?|bathing suits?|swim ?trunks|topless)\b"
    ),
}
"""What resembles a criterion and is fit for a shop: sets to their words."""
CHILD = re.compile(r"\b(boys?|girls?|child|children|kids?|baby|babies|toddlers?)\b")
ENOUGH = 2
"""Captions of five that have to say it."""
FEW = 5
PER_SET = 1000
RESAMPLES = 2000


def said(words: re.Pattern[str], captions: list[str]) -> int:
    """How many captions name it."""
    return sum(bool(words.search(caption.lower())) for caption in captions)


def sets(data: Path, split: str) -> dict[str, list[Path]]:
    """Name of a set to its photographs; a criterion's set is what meets it."""
    found: dict[str, list[Path]] = {name: [] for name in (*SAID, *LIKE_IT, "everyday scenes")}
    lines = (data / "flickr8k" / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, lines):
        captions = row["captions"]
        if row["split"] != split or (said(SAID["nudity"], captions) and said(CHILD, captions)):
            continue
        named = {name: said(words, captions) for name, words in SAID.items()}
        like = {name: said(words, captions) for name, words in LIKE_IT.items()}
        met = [name for name, count in {**named, **like}.items() if count >= ENOUGH]
        if not any({**named, **like}.values()):
            met = ["everyday scenes"]
        elif any(0 < count < ENOUGH for count in named.values()):
            continue
        for name in met:
            found[name].append(data / "flickr8k" / row["image"])
    clothes = "validation" if split == "dev" else "train"
    found["clothes"] = sorted((data / "clothing" / clothes).glob("*/*"))
    rng = np.random.default_rng(0)
    return {
        name: [paths[i] for i in rng.permutation(len(paths))[:PER_SET]]
        for name, paths in found.items()
    }


def judged(suite: pm.Suite, policy: pm.Policy, paths: list[Path]) -> list[pm.Verdict]:
    """Verdicts, none of which may have failed."""
    verdicts = [each for each in suite.moderate(paths, policy) if isinstance(each, pm.Verdict)]
    assert len(verdicts) == len(paths)
    return verdicts


def auc(yes: Doubles, no: Doubles) -> float:
    """Area under the ROC curve of two groups' scores."""
    truth = np.arange(len(yes) + len(no)) < len(yes)
    return float(roc_auc_score(truth, np.concatenate([yes, no])))


def interval(yes: Doubles, no: Doubles) -> tuple[float, float]:
    """95 % of `auc`, by resampling the photographs of either side."""
    rng = np.random.default_rng(0)
    found = [auc(rng.choice(yes, len(yes)), rng.choice(no, len(no))) for _ in range(RESAMPLES)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def report(policy: pm.Policy, verdicts: dict[str, list[pm.Verdict]]) -> None:
    """Print what meets a criterion against everyday scenes; then what should be approved."""
    print("| criterion | meet it | caught | false alarms | AUC (95 %) |")
    print("|---|---|---|---|---|")
    for criterion in policy.criteria:
        if criterion.name not in SAID:
            continue
        yes, no = (
            np.array([each.scores[criterion.name] for each in verdicts[name]])
            for name in (criterion.name, "everyday scenes")
        )
        caught = f"{int((yes >= criterion.threshold).sum())} of {len(yes)}" if len(yes) else "-"
        alarms = f"{(no >= criterion.threshold).mean():.1%} of {len(no)}"
        measured = "not measured: too few"
        if len(yes) >= FEW:
            low, high = interval(yes, no)
            measured = f"{auc(yes, no):.2f} ({low:.2f} to {high:.2f})"
        print(f"| {criterion.name} | {len(yes)} | {caught} | {alarms} | {measured} |")
    print()
    names = [criterion.name for criterion in policy.criteria]
    print("| should be approved | photographs | approved |" + "".join(f" {n} |" for n in names))
    print("|---|---|---|" + "---|" * len(names))
    for group in ("everyday scenes", "clothes", *LIKE_IT):
        each = verdicts[group]
        wrong = [np.mean([not v.findings[k].passed for v in each]) for k in range(len(names))]
        share = np.mean([verdict.approved for verdict in each])
        cells = "".join(f" {value:.1%} |" for value in wrong)
        print(f"| {group} | {len(each)} | {share:.1%} |{cells}")


def main() -> None:
    """Judge every set and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="starter")
    parser.add_argument("--policy", default="safe-for-shop")
    parser.add_argument("--split", choices=["train", "dev"], default="dev")
    options = parser.parse_args()
    suite, policy = pm.Suite(options.model), open_policy(options.policy)
    verdicts = {
        name: judged(suite, policy, paths) if paths else []
        for name, paths in sets(options.data, options.split).items()
    }
    print(f"{suite.embedder().space.describe()}, policy {policy.name}, {options.split} photographs")
    report(policy, verdicts)


if __name__ == "__main__":
    main()
