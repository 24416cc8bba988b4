"""Schemas of every kind, as one thing."""

import datetime as dt
import json
import subprocess
import sys

import pydantic
import pytest

from polymodal.errors import UsageError
from polymodal.tasks.schemas import as_schema


class Receipt(pydantic.BaseModel):
    company: str
    total: float
    day: dt.date | None = None

    @pydantic.field_validator("total")
    @classmethod
    def positive(cls, value):
        if value <= 0:
            raise ValueError("must be above 0")
        return value


JSON_SCHEMA = {
    "title": "Receipt",
    "type": "object",
    "properties": {
        "company": {"type": "string"},
        "total": {"type": "number"},
        "day": {"type": "string", "format": "date"},
    },
    "required": ["company", "total"],
    "additionalProperties": False,
}


def test_a_pydantic_class_gives_its_instance():
    schema = as_schema(Receipt)
    assert schema.json_schema["required"] == ["company", "total"]
    read = schema.validate({"company": "Shop", "total": 2, "day": "2024-05-01"})
    assert read == Receipt(company="Shop", total=2, day=dt.date(2024, 5, 1))


def test_a_strict_class_takes_dates_as_json_has_them():
    class Strict(pydantic.BaseModel, strict=True):
        day: dt.date

    assert as_schema(Strict).validate({"day": "2024-05-01"}).day == dt.date(2024, 5, 1)
    with pytest.raises(ValueError, match="day: "):
        as_schema(Strict).validate({"day": 5})


def test_every_problem_is_named_with_its_place():
    with pytest.raises(ValueError, match="must be above 0") as caught:
        as_schema(Receipt).validate({"total": -1})
    assert sorted(line.split(":")[0] for line in str(caught.value).splitlines()) == [
        "company",
        "total",
    ]


def test_a_rule_that_stumbles_is_a_problem_of_the_data():
    class Fragile(pydantic.BaseModel):
        n: int

        @pydantic.field_validator("n")
        @classmethod
        def share(cls, value):
            return 1 // value

    with pytest.raises(ValueError, match="ZeroDivisionError"):
        as_schema(Fragile).validate({"n": 0})


def test_a_json_schema_gives_plain_data_and_checks_formats():
    schema = as_schema(JSON_SCHEMA)
    data = {"company": "Shop", "total": 2, "day": "2024-05-01"}
    assert (schema.name, schema.validate(data)) == ("Receipt", data)
    with pytest.raises(ValueError, match=r"(?s)day: '1st of May' is not a 'date'.*total"):
        schema.validate({"company": "Shop", "day": "1st of May"})


def test_a_file_is_the_same_as_what_it_holds(tmp_path):
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(JSON_SCHEMA), encoding="utf-8-sig")
    assert as_schema(path).json_schema == as_schema(str(path)).json_schema == JSON_SCHEMA


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "it is no text"),
        (b"[]", "not a JSON object"),
        (b'{"type": "objekt"}', "not a valid JSON Schema"),
        (b'{"type": "object", "type": "array"}', "stands twice"),
    ],
)
def test_a_file_that_is_no_schema_is_refused(tmp_path, content, reason):
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=reason):
        as_schema(path)


def test_what_is_no_schema_at_all_is_refused():
    with pytest.raises(UsageError, match="is no schema"):
        as_schema(int)
    with pytest.raises(UsageError, match=r"^json\.dumps is no schema"):
        as_schema(json.dumps)


def test_nothing_is_fetched_for_a_reference(monkeypatch):
    opened = []

    def note(*arguments, **_):
        opened.append(arguments)
        raise OSError

    monkeypatch.setattr("urllib.request.urlopen", note)
    monkeypatch.setattr("socket.socket.connect", note)
    schema = as_schema({"properties": {"a": {"$ref": "http://localhost:9/x.json"}}})
    with pytest.raises(UsageError, match=r"localhost:9/x\.json"):
        schema.validate({"a": 1})
    assert not opened


def test_a_reference_inside_the_schema_is_followed():
    schema = as_schema({"$defs": {"n": {"type": "number"}}, "items": {"$ref": "#/$defs/n"}})
    assert schema.validate([1, 2]) == [1, 2]
    with pytest.raises(ValueError, match="1: 'two'"):
        schema.validate([1, "two"])


def test_without_the_package_the_message_is_how_to_get_it():
    code = (
        "import sys; sys.modules['jsonschema'] = None\n"
        "from polymodal.tasks.schemas import as_schema\n"
        "from polymodal import MissingDependency\n"
        "try: as_schema({})\n"
        "except MissingDependency as error: print(error.exit_code, error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("3 ")
    assert 'pip install "polymodal[schemas]"' in ran.stdout
