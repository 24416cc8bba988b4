"""The card of the receipt model: what it is, what it was trained on, its limits and scores."""

from __future__ import annotations

import json

HEAD = """\
[model]
id = "starter receipts"
name = "polymodal starter receipt model"
version = "0.1.0"
licence = "Apache-2.0; trained on 80 receipts of ICDAR 2019 SROIE task 3 (an MIT-licensed copy of a public challenge set)"
description = "Company, address, date and total of a receipt, from its lines of text and where they stand. Boosted trees and a logistic regression a field, evaluated with numpy."
data = ["80 scanned receipts of ICDAR 2019 SROIE, task 3, as RapidOCR (PP-OCRv6 small) reads them"]
limits = [
 "trained on Malaysian receipts in English and Malay: expect less elsewhere",
 "one receipt a document; the address of the company, not of a customer",
 "a date keeps its printed form; day before month unless another date or an American address shows otherwise",
 "amounts need two decimals, or a unit that often goes without (yen, rupees)",
 "not a tax document reader: check what matters",
]

"""
NOTES = """
[notes]
scores = "share of exact values on receipts not trained on, printed by python -m recipes.starter.receipts; case and blanks are ignored, totals compared as amounts; strict keeps single blanks and compares totals as text, so $8.20 is not 8.20"
folds_over_receipts = "five folds over the 80 receipts; some merchants are in several folds"
folds_over_merchants = "five folds over the merchants, none of them in two: what to expect of new ones"
"""


def card(results: dict[str, dict[str, float]]) -> str:
    """card.toml; `results` is title to score name to score."""
    tables = []
    for title, scores in results.items():
        rows = [f"{json.dumps(name)} = {value:.3f}" for name, value in scores.items()]
        tables.append(f'[scores."{title}"]\n' + "\n".join(rows) + "\n")
    return HEAD + "\n".join(tables) + NOTES
