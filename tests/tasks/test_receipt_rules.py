"""What rules say of receipts: currency, number and payment, and when they say nothing."""

import pytest

from polymodal.catalog.receipts import open_receipt_model
from polymodal.errors import ModelUnavailable
from polymodal.models.receipts.layout import lay_out
from polymodal.results_documents import Line, PageInfo
from polymodal.tasks.receipt_rules import by_rule

BOUGHT = ["CORNER CAFE LTD", "Date: 14/03/2024 10:00", "Coffee|3.40", "TOTAL|3.40"]


def ruled(*rows):
    """What the rules find in rows of cells."""
    try:
        model, _ = open_receipt_model()
    except ModelUnavailable:
        pytest.skip("polymodal-starter has no receipt model yet: run recipes.starter.receipts")
    lines, numbers = [], []
    for number, row in enumerate(rows):
        for index, cell in enumerate(row.split("|")):
            left, top = 40.0 + 500 * index, 40.0 + 48 * number
            lines.append(Line(cell, (left, top, left + 16 * len(cell), top + 30), 0.99))
            numbers.append(number)
    found = by_rule(model.read(lay_out(lines, [PageInfo(1, 900, 1200)], numbers)))
    return {name: each.text for name, each in found.found.items()}, found.problems


@pytest.mark.parametrize(
    ("rows", "method"),
    [
        (["VISA ************1234"], "visa"),
        (["VISA DEBIT", "************1234"], "visa"),
        (["VISA DEBIT|3.40", "CARD SALE|3.40"], "visa"),
        (["MASTERCARD CREDIT XXXXXXXXXXXX5512"], "mastercard"),
        (["Visa ending in 4242"], "visa"),
        (["Contactless|3.40"], "card"),
        (["Geg. BAR|5,00"], "cash"),
        (["DEBIT CARD|3.40", "CARD|3.40"], "debit card"),
        (["WE ACCEPT VISA AND MASTERCARD"], None),
        (["VISA MASTERCARD AMEX"], None),
        (["CASH|2.00", "VISA|1.40"], None),
    ],
)
def test_a_line_that_is_a_card_says_how_it_was_paid(rows, method):
    assert ruled(*BOUGHT, *rows)[0].get("payment_method") == method


def test_what_was_bought_is_no_payment():
    rows = [*BOUGHT[:2], "Boost Juice|5.50", "Visa gift wrap|1.00", "TOTAL|6.50"]
    assert "payment_method" not in ruled(*rows)[0]


@pytest.mark.parametrize(
    ("rows", "currency"),
    [
        (["TOTAL|RM 3.40"], "MYR"),
        (["Rm: 407", "TOTAL|3.40"], None),  # a hotel's room
        (["RM 407", "TOTAL|$3.40", "TAX|$0.40"], None),
        (["TOTAL|3.40", "TRY 2 FOR 1 ON MONDAYS"], None),
        (["TOTAL SEK|3,40"], "SEK"),
        (["TOTAL|R$ 3,40"], "BRL"),
        (["Total Eur 3,40"], "EUR"),
        (["CHF 2.00", "CHF 1.30", "TOTAL|EUR 3.40", "CHF 3.30"], "EUR"),
        (["TOTAL|$3.40 USD", "TAX|$0.40", "NET|$3.00"], "USD"),
    ],
)
def test_a_currency_is_one_that_an_amount_is_in(rows, currency):
    assert ruled("CORNER CAFE LTD", "14/03/2024", *rows)[0].get("currency") == currency


@pytest.mark.parametrize(
    ("row", "number"),
    [
        ("INV0ICE# 556782", "556782"),  # a nought for an O, as it is often read
        ("Beleg-Nr. 4711", "4711"),
        ("Rechnungsnummer: 2024-1187", "2024-1187"),
        ("Facture n\u00b0 F-2024-88", "F-2024-88"),
        ("Kvitto nr 8812", "8812"),
        ("FATTURA n. 123/2024 del 15/03/2024", "123/2024"),
        ("Factuurnummer: 2024-0099", "2024-0099"),
        ("Order #: 55210Ship date: 03/20/2024", "55210"),
        ("Bon voyage 2024", None),
        ("Bus No: 4521", None),
    ],
)
def test_numbers_have_names_in_other_languages(row, number):
    assert ruled(*BOUGHT, row)[0].get("transaction_id") == number


def test_an_address_goes_on_below_itself_and_not_in_the_next_column():
    head = ["ACME CLOUD INC|Bill to", "548 Market Street|Jane Roe", "San Francisco, CA 94104|Oslo"]
    found, _ = ruled(*head, *BOUGHT[1:])
    assert found["address"] == "548 Market Street San Francisco, CA 94104"
