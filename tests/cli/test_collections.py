"""Collections from the command line: add, search, similar, duplicates and their upkeep."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.media.nasty import make_nasty_folder


@pytest.fixture
def shop(polymodal, pictures):
    """A collection of the coloured pictures, by its path."""
    ran = polymodal("add", pictures, "--metadata", pictures / "shop.csv", "-c", "./shop")
    assert ran.code == 0, ran
    return "./shop"


def test_add_ends_with_its_counts_and_a_second_run_adds_nothing(polymodal, pictures):
    first = polymodal("add", pictures, "-c", "./shop", "--json")
    again = polymodal("add", pictures, "-c", "./shop", "--json")
    counts = first.lines[-1]
    assert {"added", "skipped", "failed", "removed", "seconds"} <= set(counts)
    assert (counts["added"], counts["skipped"], counts["failed"]) == (5, 0, 0)
    assert (again.lines[-1]["added"], again.lines[-1]["skipped"]) == (0, 5)
    assert "5 already there" in polymodal("add", pictures, "-c", "./shop").stdout


def test_prune_removes_what_is_gone(polymodal, pictures, shop):
    (pictures / "red.png").unlink()
    kept = polymodal("add", pictures, "-c", shop, "--json").lines[-1]
    pruned = polymodal("add", pictures, "-c", shop, "--prune", "--json").lines[-1]
    assert (kept["removed"], pruned["removed"]) == (0, 1)


def test_a_table_can_be_added_by_itself(polymodal, pictures):
    ran = polymodal("add", pictures / "shop.csv", "-c", "./shop", "--json")
    assert ran.lines[-1]["added"] == 5
    found = polymodal("search", "red", "-c", "./shop", "--json").lines
    assert found[0]["metadata"]["title"] == "Red shirt"


def test_a_folder_of_bad_files_adds_every_good_one(polymodal, tmp_path):
    nasty = make_nasty_folder(tmp_path / "nasty")
    ran = polymodal("add", nasty.root, "-c", "./shop", "--json")
    assert ran.code == 1
    assert ran.lines[-1]["added"] == len(nasty.good)
    failures = [line for line in ran.lines if "error" in line]
    assert len(failures) == ran.lines[-1]["failed"] == len(nasty.bad)
    for line in failures:
        assert set(line) == {"input", "error", "kind"}
        assert line["error"]
    assert ran.stderr.count("failed: ") == len(nasty.bad)


def test_a_folder_of_bad_files_embeds_every_good_one(polymodal, tmp_path):
    nasty = make_nasty_folder(tmp_path / "nasty")
    ran = polymodal("embed", nasty.root, "--json")
    assert ran.code == 1
    assert sum("vector" in line for line in ran.lines) == len(nasty.good)
    assert sum("error" in line for line in ran.lines) == len(nasty.bad)


def test_search_lines_are_hits_best_first(polymodal, shop, pictures):
    ran = polymodal("search", "red", "-c", shop, "-k", "3", "--json")
    assert ran.code == 0
    assert len(ran.lines) == 3
    for line in ran.lines:
        assert set(line) == {"id", "path", "score", "metadata", "cosine"}
    assert ran.lines[0]["path"] == str(pictures / "red.png")
    scores = [line["score"] for line in ran.lines]
    assert scores == sorted(scores, reverse=True)
    assert ran.lines[0]["metadata"] == {"title": "Red shirt", "price": 500}


@pytest.mark.parametrize("mode", ["--hybrid", "--no-hybrid"])
def test_the_cosine_stands_beside_the_score(polymodal, shop, pictures, mode):
    found = polymodal("search", "red shirt", mode, "-c", shop, "--json").lines
    (text,) = polymodal("embed", "--text", "red shirt", "--json").lines
    embedded = polymodal("embed", pictures, "--json").lines
    vectors = {str(pictures / Path(line["input"]).name): line["vector"] for line in embedded}
    assert found
    for line in found:
        cosine = np.dot(text["vector"], vectors[line["path"]])
        assert line["cosine"] == pytest.approx(cosine, abs=1e-5)
        assert (line["score"] == line["cosine"]) == (mode == "--no-hybrid")


def test_several_queries_give_an_object_each(polymodal, shop, tmp_path):
    (tmp_path / "queries.txt").write_text("red\nblue\n")
    for arguments in (["--query", "red", "--query", "blue"], ["--queries", "queries.txt"]):
        ran = polymodal("search", *arguments, "-c", shop, "-k", "2", "--json")
        assert [line["query"] for line in ran.lines] == ["red", "blue"]
        assert all(set(line) == {"query", "results"} for line in ran.lines)
        assert [line["results"][0]["metadata"]["title"] for line in ran.lines] == [
            "Red shirt",
            "Blue shirt",
        ]
        assert all(len(line["results"]) == 2 for line in ran.lines)


def test_search_by_picture_and_by_both(polymodal, shop, tmp_path):
    Image.new("RGB", (30, 30), (200, 40, 50)).save(tmp_path / "query.jpg")
    by_picture = polymodal("search", "--image", "query.jpg", "-c", shop, "--json").lines
    assert by_picture[0]["metadata"]["title"] == "Red shirt"
    weights = ["--weights", "5,0.1", "--no-hybrid"]
    both = polymodal("search", "blue", "--image", "query.jpg", *weights, "-c", shop, "--json").lines
    assert both[0]["metadata"]["title"] == "Blue shirt"


def test_liked_pictures_pull_and_disliked_ones_push(polymodal, shop, pictures):
    arguments = ["--like", pictures / "blue.png", "--unlike", pictures / "red.png"]
    found = polymodal("search", *arguments, "-c", shop, "--json").lines
    titles = [line["metadata"]["title"] for line in found]
    assert "Blue shirt" not in titles
    assert titles


def test_filters_hold_and_are_read_from_words(polymodal, shop):
    written = polymodal("search", "shirt", "--where", "price < 1200", "-c", shop, "--json").lines
    assert {line["metadata"]["price"] for line in written} == {500, 1000}
    said = polymodal("search", "shirt under 1200 rupees", "-c", shop, "--json")
    assert {line["metadata"]["price"] for line in said.lines} == {500, 1000}
    assert "price" in said.stderr
    shown = polymodal("search", "shirt under 1200 rupees", "-c", shop)
    assert "note: price" in shown.stdout
    literal = polymodal("search", "shirt under 1200 rupees", "--literal", "-c", shop, "--json")
    assert len(literal.lines) == 5


def test_wrong_filter_syntax_points_at_the_character(polymodal, shop):
    ran = polymodal("search", "shirt", "--where", "price << 5", "-c", shop)
    assert ran.code == 2
    expression, caret = ran.stderr.splitlines()[-2:]
    assert expression.strip() == "price << 5"
    assert caret.index("^") == expression.index("<<") + 1


def test_similar_leaves_the_picture_out(polymodal, shop, pictures):
    found = polymodal("similar", pictures / "red.png", "-c", shop, "-k", "4", "--json").lines
    assert len(found) == 4
    assert str(pictures / "red.png") not in [line["path"] for line in found]
    first = polymodal("search", "red", "-c", shop, "-k", "1", "--json").lines[0]
    by_id = polymodal("similar", first["id"], "-c", shop, "-k", "4", "--json").lines
    assert by_id == found


def test_duplicates_are_grouped_with_the_one_to_keep_first(polymodal, shop, pictures):
    with Image.open(pictures / "red.png") as image:
        image.resize((48, 36)).save(pictures / "red-small.jpg")
    assert polymodal("add", pictures, "-c", shop).code == 0
    groups = polymodal("duplicates", "-c", shop, "--threshold", "0.99", "--json").lines
    (group,) = [g for g in groups if any("red.png" in item["path"] for item in g["items"])]
    assert set(group) == {"similarity", "items"}
    assert group["items"][0]["path"] == str(pictures / "red.png")
    assert set(group["items"][0]) == {"id", "path", "score", "metadata"}
    assert "keep" in polymodal("duplicates", "-c", shop, "--threshold", "0.99").stdout


def test_info_counts_what_is_there(polymodal, shop):
    values = polymodal("info", "-c", shop, "--json").lines[0]
    assert values["items"] == 5
    assert values["space"]["model"] == "mock"
    assert "items" in polymodal("info", "-c", shop).stdout


def test_export_and_import_carry_everything_over(polymodal, shop, tmp_path):
    ran = polymodal("export", "-c", shop, "--output", "items.jsonl", "--json")
    assert ran.lines == [{"exported": 5, "output": "items.jsonl"}]
    items = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    items = [item for item in items if "id" in item]
    assert len(items) == 5
    assert all({"id", "path", "metadata"} <= set(item) for item in items)
    assert polymodal("import", "items.jsonl", "-c", "./copy").code == 0
    arguments = ["similar", items[0]["id"], "--json"]
    assert polymodal(*arguments, "-c", "./copy").lines == polymodal(*arguments, "-c", shop).lines


def test_delete_takes_ids_or_a_filter(polymodal, shop):
    first = polymodal("search", "red", "-c", shop, "-k", "1", "--json").lines[0]
    assert polymodal("delete", first["id"], "-c", shop, "--json").lines == [{"deleted": 1}]
    ran = polymodal("delete", "--where", "price > 1800", "-c", shop, "--json")
    assert ran.lines == [{"deleted": 2}]
    assert polymodal("info", "-c", shop, "--json").lines[0]["items"] == 2


def test_an_id_that_is_not_there_fails_alone(polymodal, shop):
    first = polymodal("search", "red", "-c", shop, "-k", "1", "--json").lines[0]["id"]
    absent = "0" * 64
    ran = polymodal("delete", "nosuchid", first, absent, first, "-c", shop, "--json")
    assert ran.code == 1
    assert [line.get("input") for line in ran.lines] == ["nosuchid", absent, None]
    assert ran.lines[-1] == {"deleted": 1}
    assert "failed: nosuchid: the collection has no item with this id" in ran.stderr


def test_another_model_is_refused_until_the_collection_is_moved(polymodal, shop):
    refused = polymodal("search", "red", "-c", shop, "-m", "mock:2", mock=False)
    assert refused.code == 2
    assert "reembed" in refused.stderr
    moved = polymodal("reembed", "-c", shop, "-m", "mock:2", "--json", mock=False)
    assert moved.code == 0
    assert moved.lines[-1]["updated"] == 5
    assert polymodal("search", "red", "-c", shop, "-m", "mock:2", mock=False).code == 0


def test_moving_drops_vanished_pictures_only_when_told(polymodal, shop, pictures):
    (pictures / "red.png").unlink()
    refused = polymodal("reembed", "-c", shop, "-m", "mock:2", mock=False)
    assert refused.code == 1
    arguments = ["reembed", "-c", shop, "--drop-missing", "-m", "mock:2", "--json"]
    dropped = polymodal(*arguments, mock=False)
    assert (dropped.code, dropped.lines[-1]["removed"]) == (0, 1)
    assert dropped.lines[0]["input"].endswith("red.png")
    assert dropped.lines[0]["removed"]


def test_nothing_found_is_not_a_failure(polymodal, shop):
    ran = polymodal("search", "red", "--where", "price < 0", "-c", shop)
    assert (ran.code, ran.stdout) == (0, "nothing found.\n")
    assert polymodal("search", "red", "--where", "price < 0", "-c", shop, "--json").stdout == ""


def test_the_collection_can_come_from_the_environment(polymodal, shop):
    ran = polymodal("search", "red", "-k", "1", "--json", POLYMODAL_COLLECTION=shop)
    assert ran.lines[0]["metadata"]["title"] == "Red shirt"


def test_result_tables_fit_80_columns(polymodal, pictures, tmp_path):
    deep = tmp_path / "/".join(["a-folder-with-a-long-name"] * 4)
    shutil.copytree(pictures, deep)
    (deep / "shop.csv").write_text(f"path,title\nred.png,{'A very long title ' * 9}\n")
    polymodal("add", deep, "--metadata", deep / "shop.csv", "-c", "./deep")
    for arguments in (["search", "red"], ["similar", deep / "red.png"], ["info"]):
        ran = polymodal(*arguments, "-c", "./deep")
        assert ran.code == 0, ran
        assert max(map(len, ran.stdout.splitlines())) <= 80
        assert "\x1b" not in ran.stdout


def test_the_starter_s_note_comes_once(environment, tmp_path, monkeypatch, capsys):
    from polymodal.cli.common import name_the_starter
    from polymodal.cli.output import Output

    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    for as_json, quiet in ((True, False), (False, True), (False, False), (False, False)):
        name_the_starter("starter", Output(as_json=as_json, quiet=quiet))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("starter") == 1
