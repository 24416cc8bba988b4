"""Whether the pages of one file are receipts of their own, as a scanner puts them together.

Notable: an invoice of several pages names one company and one day on all of them; only pages that
differ in both, each with a total, are documents of their own.
"""

from __future__ import annotations

from dataclasses import replace

from polymodal.models.receipts.layout import lay_out
from polymodal.models.receipts.model import ReceiptModel
from polymodal.results_documents import Reading
from polymodal.tasks.read import upright_lines

__all__ = ["page_of", "receipts_in"]


def receipts_in(model: ReceiptModel, reading: Reading) -> list[int]:
    """Pages that are receipts of their own, where there are several in one file: each has a total,
    and another company and another date than those before.
    """
    pages, companies, dates = [], set(), set()
    for page in reading.pages if len(reading.pages) > 1 else ():
        part = page_of(reading, page.page)
        read_fields = model.read(lay_out(upright_lines(part), part.pages, part.rows))
        company, total = read_fields.found.get("company"), read_fields.found.get("total")
        if company is None or total is None or read_fields.date is None:
            continue
        name, day = "".join(filter(str.isalnum, company.text.casefold())), read_fields.date.parts
        if name not in companies and day not in dates:
            pages.append(page.page)
        companies.add(name)
        dates.add(day)
    return pages if len(pages) > 1 else []


def page_of(reading: Reading, number: int) -> Reading:
    """One page of a reading, as a reading."""
    kept = [index for index, line in enumerate(reading.lines) if line.page == number]
    return replace(
        reading,
        lines=tuple(reading.lines[index] for index in kept),
        rows=tuple(reading.rows[index] for index in kept) if reading.rows else (),
        pages=tuple(page for page in reading.pages if page.page == number),
    )
