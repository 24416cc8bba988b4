"""Parts of the receipt model: dates, amounts, pieces, and trees beside scikit-learn's own."""

import datetime
import io

import numpy as np
import pytest

from polymodal.errors import DamagedWeights
from polymodal.models.receipts.amounts import by_value, find_amounts
from polymodal.models.receipts.dates import calendar_day, find_dates, is_american, of_the_receipt
from polymodal.models.receipts.layout import lay_out
from polymodal.models.receipts.model import ReceiptModel, tidy_address, tidy_company
from polymodal.models.receipts.pieces import pieces_of
from polymodal.models.receipts.trees import Trees, read_arrays
from polymodal.results_documents import Line, PageInfo


def sheet_of(*rows):
    """A sheet with the given rows, cells apart by a bar."""
    lines, numbers = [], []
    for number, row in enumerate(rows):
        for index, cell in enumerate(row.split("|")):
            left = 300 * index
            box = (left, 30 * number, left + 12 * len(cell), 30 * number + 20)
            lines.append(Line(cell.strip(), box, 1.0))
            numbers.append(number)
    return lay_out(lines, [PageInfo(1, 800, 1000)], numbers)


@pytest.mark.parametrize(
    ("printed", "text", "day"),
    [
        ("Date: 25/12/2018 8:13 PM", "25/12/2018", "2018-12-25"),
        ("18-11-18 13:58 SH01", "18-11-18", "2018-11-18"),
        ("2018-03-23", "2018-03-23", "2018-03-23"),
        ("05 Mar 2018 18:24", "05 Mar 2018", "2018-03-05"),
        ("28 MAR 18", "28 MAR 18", "2018-03-28"),
        ("March 5, 2018", "March 5, 2018", "2018-03-05"),
        ("DATE :12/28/2017", "12/28/2017", "2017-12-28"),
        ("Date:9/3/201820:54:50", "9/3/2018", "2018-03-09"),
        ("O5/12/2O18", "05/12/2018", "2018-12-05"),
        ("20180304", "20180304", "2018-03-04"),
        ("14.05.2021", "14.05.2021", "2021-05-14"),
        ("ORD #50 -REG #19- 18/01/2018", "18/01/2018", "2018-01-18"),
        ("27032018", "27/03/2018", "2018-03-27"),
    ],
)
def test_dates_are_found_as_printed_and_as_days(printed, text, day):
    dates = find_dates(sheet_of(printed))
    assert [found.text for found in dates] == [text]
    assert calendar_day(dates[0], dates) == datetime.date.fromisoformat(day)


@pytest.mark.parametrize("text", ["1-800-10-2030", "HD03-04-06 - 5/40/160", "31/02/2018", "12:30"])
def test_what_only_looks_like_a_date_is_none(text):
    days = [calendar_day(found, []) for found in find_dates(sheet_of(text))]
    assert all(day is None or day.year < 2016 for day in days)


def test_another_date_tells_which_number_is_the_month():
    dates = find_dates(sheet_of("Printed 12/28/2017", "Date 03/04/2018"))
    assert calendar_day(dates[1], dates) == datetime.date(2018, 3, 4)
    assert calendar_day(dates[1], [dates[1]]) == datetime.date(2018, 4, 3)


@pytest.mark.parametrize(
    ("address", "day"),
    [
        ("Dayton, OH 45402", datetime.date(2024, 4, 2)),
        ("Austin TX 78701-1234", datetime.date(2024, 4, 2)),
        ("41150 KLANG, SELANGOR", datetime.date(2024, 2, 4)),
        ("CASHIER ID 12345", datetime.date(2024, 2, 4)),
    ],
)
def test_an_american_address_tells_that_the_month_comes_first(address, day):
    sheet = sheet_of(address, "DATE 04/02/24 17:33")
    dates = find_dates(sheet)
    assert calendar_day(dates[0], dates, american=is_american(sheet)) == day


def test_amounts_are_found_with_sign_unit_and_their_row_s_words():
    sheet = sheet_of(
        "Total RM | RM1,234.50", "Rounding | -0.02", "GST 6.00% | $8.20", "Qty 3 | 9.000",
        "12.05.2018 | 75,00",
    )  # fmt: skip
    amounts = find_amounts(sheet, find_dates(sheet))
    assert [(a.cents, a.unit) for a in amounts] == [
        (123450, "RM"), (-2, ""), (820, "$"), (7500, ""),
    ]  # fmt: skip
    assert "total" in amounts[0].kinds
    assert "rounding" in amounts[1].kinds
    assert -2 not in by_value(amounts)


@pytest.mark.parametrize(
    ("printed", "cents"),
    [
        ("1 250,30 €", 125030), ("2.610,86 €", 261086), ("1'348.90", 134890),
        ("1\u2019348.90", 134890), ("1,24,500.00", 12450000), ("R$ 1.234,56", 123456),
        ("$1 250.30", 125030), ("2 125.00", 12500), ("TOTAL:44.45", 4445),
        ("Rs.14,068.00", 1406800), ("¥1,000", 100000), ("Rs. 450/-", 45000), ("Rp 50.000", 5000000),
    ],
)  # fmt: skip
def test_thousands_are_read_as_every_country_writes_them(printed, cents):
    sheet = sheet_of(f"Total | {printed}")
    assert [each.cents for each in find_amounts(sheet, [])] == [cents]


@pytest.mark.parametrize(
    "text", ["12.345.678/0001-90", "18:22.10", "1'2.50", "3,5%", "12.500", "¥ 50%", "ORS 45"]
)
def test_what_only_looks_like_an_amount_is_none(text):
    assert find_amounts(sheet_of(text), []) == []


def test_what_was_saved_cannot_be_the_total():
    sheet = sheet_of("TOTAL | 8.88", "TOTAL SAVINGS | 12.50", "You saved | 3.00")
    assert list(by_value(find_amounts(sheet, []))) == [888]


@pytest.mark.parametrize(
    "row",
    [
        "TOTAL AFTER DISCOUNT", "TOTAL INCL. DISCOUNT", "TOTAL LESS DISC", "TOTAL SALES (DISC 10%)",
        "TOTAL (MEMBER DISCOUNT TAKEN)",
    ],
)  # fmt: skip
def test_a_total_that_a_discount_is_off_can_be_the_total(row):
    sheet = sheet_of(f"{row} | 45.00", "TOTAL MEMBER DISCOUNT | 5.00")
    assert list(by_value(find_amounts(sheet, []))) == [4500]


@pytest.mark.parametrize(
    ("rows", "own"),
    [
        *(
            ([name, "12/03/2019"], ["12/03/2019"])
            for name in (
                "MATAHARI STORE", "EXPRESS STORE", "DEPARTMENT STORE", "BIRTHDAY SHOP",
                "ARRIVA BUS", "DUE FRATELLI", "PAYABLE BY CASH", "VALIDUS LTD",
            )
        ),
        (["Date of birth: 01/02/1990", "12/03/2019"], ["12/03/2019"]),
        (["Offer valid until 30/04/2024", "01/02/2024 10:11"], ["01/02/2024"]),
        (["Invoice date: 01/02/2024 | Due date: 28/02/2024"], ["01/02/2024"]),
        (["Invoice date | Due date", "01/02/2024 | 28/02/2024"], ["01/02/2024"]),
        (["Due | 28/02/2024", "Date | 01/02/2024"], ["01/02/2024"]),
        (["Statement period 01/02/2024 - 29/02/2024"], []),
        (["Total due 12.00 01/02/2024"], ["01/02/2024"]),
        (["10:02AM22-06-18"], ["22-06-18"]),
    ],
)  # fmt: skip
def test_when_a_bill_is_due_or_an_offer_ends_is_not_its_date(rows, own):
    sheet = sheet_of(*rows)
    assert [each.text for each in of_the_receipt(sheet, find_dates(sheet))] == own


def test_cells_close_together_are_one_piece_and_others_are_not():
    lines = [
        Line("ENTERPRISE", (0, 0, 120, 20), 1.0),
        Line("(SETIA", (130, 0, 200, 20), 1.0),
        Line("PAGE 1", (600, 0, 680, 20), 1.0),
    ]
    pieces = pieces_of(lay_out(lines, [PageInfo(1, 700, 100)], [0, 0, 0]))
    assert [piece.text for piece in pieces] == ["ENTERPRISE (SETIA", "PAGE 1"]


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("AEON CO. (M) BHD (126926-H)", "AEON CO. (M) BHD"),
        ("99 SPEED MART S/B (519537-X)", "99 SPEED MART S/B"),
        ("MR D.I.Y. (M) SDN BHD", "MR D.I.Y. (M) SDN BHD"),
        ("Taste Of The WorId", "Taste Of The World"),
        ("STORE 123", "STORE 123"),
        ("STARBUCKS STORE #10234", "STARBUCKS STORE"),
    ],
)
def test_registration_numbers_are_cut_from_companies(text, tidied):
    assert tidy_company(text) == tidied


def test_addresses_are_freed_of_telephones_and_lost_commas():
    text = "Address : NO. 53, JALAN SR 1/9. SEKSYEN 9, 43300 SELANGOR TEL: 03-3271 9872"
    assert tidy_address(text) == "NO. 53, JALAN SR 1/9, SEKSYEN 9, 43300 SELANGOR"


@pytest.fixture(scope="module")
def trained():
    """A scikit-learn model on made-up data, and the same as our arrays."""
    ensemble = pytest.importorskip("sklearn.ensemble", reason="needs the extra demo")
    from recipes.starter.receipts import flattened

    random = np.random.default_rng(5)
    x = random.normal(size=(400, 6)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0.3).astype(int)
    model = ensemble.GradientBoostingClassifier(n_estimators=30, max_depth=3, random_state=1)
    model.fit(x, y)
    return model, {f"m.{k}": v for k, v in flattened(model).items()} | {"m.weights": np.zeros(6)}


def test_trees_answer_as_scikit_learn_does(trained):
    model, arrays = trained
    x = np.random.default_rng(6).normal(size=(300, 6)).astype(np.float32)
    ours = Trees.of(arrays, "m", 6).probabilities(x.tolist())
    assert ours == pytest.approx(model.predict_proba(x)[:, 1], abs=1e-5)


def test_a_linear_part_adds_to_the_log_odds(trained):
    _, arrays = trained
    x = np.random.default_rng(6).normal(size=(20, 6)).astype(np.float32)
    weights = np.arange(6) / 10
    plain = Trees.of(arrays, "m", 6).probabilities(x.tolist())
    both = Trees.of({**arrays, "m.weights": weights}, "m", 6).probabilities(x.tolist())
    odds = np.log(both / (1 - both)) - np.log(plain / (1 - plain))
    assert odds == pytest.approx(x @ weights, abs=1e-4)


@pytest.mark.parametrize(
    "harm",
    [
        lambda a: a.pop("m.left"),
        lambda a: a["m.left"].__setitem__(0, 0),  # runs in a circle
        lambda a: a["m.right"].__setitem__(0, 10**6),
        lambda a: a["m.feature"].__setitem__(0, 6),
        lambda a: a["m.start"].__setitem__(0, -1),
        lambda a: a.__setitem__("m.weights", np.zeros(5)),
        lambda a: a.__setitem__("m.value", np.zeros(3)),
    ],
)
def test_trees_that_do_not_fit_together_are_refused(trained, harm):
    arrays = {name: np.array(value) for name, value in trained[1].items()}
    harm(arrays)
    with pytest.raises(DamagedWeights):
        Trees.of(arrays, "m", 6)


def test_a_pickle_is_not_loaded():
    file = io.BytesIO()
    np.savez(file, evil=np.array([print], dtype=object))
    with pytest.raises(DamagedWeights, match="cannot be read"):
        read_arrays(file.getvalue())
    with pytest.raises(DamagedWeights):
        ReceiptModel.load(b"no archive")
