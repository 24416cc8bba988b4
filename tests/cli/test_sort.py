"""embed, classify, match, moderate, probe: JSON lines, tables, failures in their place."""

import json
import os
from pathlib import Path

import numpy as np
import pytest


def test_embed_gives_a_unit_vector_a_line(polymodal, pictures):
    ran = polymodal("embed", pictures, "--text", "a red shirt", "--json")
    assert ran.code == 0
    assert len(ran.lines) == 6
    for line in ran.lines:
        assert set(line) == {"input", "space", "vector"}
        assert np.linalg.norm(line["vector"]) == pytest.approx(1, abs=1e-5)
    assert len({line["space"] for line in ran.lines}) == 1
    assert ran.lines[-1]["input"] == "a red shirt"
    assert ran.stderr == ""


def test_printed_vectors_are_the_embedded_ones_to_the_last_bit(polymodal, pictures):
    import polymodal as pm

    ran = polymodal("embed", pictures / "red.png", "--json")
    direct = pm.Suite(pm.MockEmbedder()).embed(images=[pictures / "red.png"]).vectors[0]
    assert np.array_equal(np.array(ran.lines[0]["vector"], np.float32), direct)


def test_a_failed_item_is_a_line_in_its_place(polymodal, pictures):
    (pictures / "broken.png").write_bytes(b"not a picture")
    inputs = [pictures / "red.png", pictures / "gone.png", pictures / "broken.png"]
    ran = polymodal("embed", *inputs, pictures / "blue.png", "--json")
    assert ran.code == 1
    assert [line["input"] for line in ran.lines[:3]] == [str(path) for path in inputs]
    assert set(ran.lines[1]) == set(ran.lines[2]) == {"input", "error", "kind"}
    assert ran.lines[1]["kind"] == "MediaNotFound"
    assert "vector" in ran.lines[3]
    assert "gone.png" in ran.stderr
    assert "broken.png" in ran.stderr


def test_texts_come_from_a_file_or_stdin(polymodal, tmp_path):
    (tmp_path / "texts.txt").write_text("red\n\nblue\n", encoding="utf-8-sig")
    from_file = polymodal("embed", "--texts", "texts.txt", "--json")
    from_stdin = polymodal("embed", "--texts", "-", "--json", stdin="red\nblue\n")
    assert from_file.lines == from_stdin.lines
    assert [line["input"] for line in from_file.lines] == ["red", "blue"]


def test_folders_and_globs_stand_where_a_file_stands(polymodal, pictures):
    folder = polymodal("embed", pictures, "--json").lines
    pattern = polymodal("embed", f"{pictures}/*.png", "--json").lines
    assert [line["vector"] for line in folder] == [line["vector"] for line in pattern]


def test_classify_names_the_colour(polymodal, pictures):
    ran = polymodal("classify", pictures, "-l", "red", "-l", "blue", "-l", "green", "--json")
    assert ran.code == 0
    answers = {Path(line["input"]).name: line for line in ran.lines}
    for colour in ("red", "blue", "green"):
        line = answers[f"{colour}.png"]
        assert set(line) == {"input", "label", "score", "scores"}
        assert line["label"] == colour
        assert line["score"] == line["scores"][colour]
        assert sum(line["scores"].values()) == pytest.approx(1)


def test_classify_answers_none_of_these_below_unknown(polymodal, pictures):
    arguments = ["classify", pictures / "purple.png", "-l", "red", "-l", "blue"]
    ran = polymodal(*arguments, "--unknown", "0.9", "--json")
    assert ran.lines[0]["label"] is None
    assert "none of these" in polymodal(*arguments, "--unknown", "0.9").stdout


def test_classify_takes_label_files_and_templates(polymodal, pictures, tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"warm": ["red", "orange"], "cold": "blue"}))
    ran = polymodal(
        "classify", pictures / "blue.png", "--labels", "labels.json", "--template", "{}", "--json"
    )
    assert ran.lines[0]["label"] == "cold"


def test_multi_label_lists_every_class_that_holds(polymodal, pictures):
    arguments = ["classify", pictures / "red.png", "-l", "red", "-l", "blue", "--template", "{}"]
    ran = polymodal(*arguments, "--multi-label", "--json")
    assert ran.lines[0]["labels"] == ["red"]


def test_probe_trains_and_classify_uses_it(polymodal, tmp_path):
    from PIL import Image

    for label, colour in (("warm", (215, 30, 40)), ("cold", (30, 60, 220))):
        (tmp_path / "examples" / label).mkdir(parents=True)
        for number in range(6):
            shade = tuple(max(0, value - 5 * number) for value in colour)
            Image.new("RGB", (40, 40), shade).save(tmp_path / "examples" / label / f"{number}.png")
    ran = polymodal("probe", "examples", "--output", "head.probe", "--json")
    assert ran.code == 0
    assert set(ran.lines[-1]) == {"output", "labels", "images", "accuracy", "interval"}
    assert ran.lines[-1]["accuracy"] == 1
    used = polymodal("classify", "examples/cold", "--probe", "head.probe", "--json")
    assert {line["label"] for line in used.lines} == {"cold"}
    assert "accuracy" in polymodal("probe", "examples", "-o", "again.probe").stdout
    by_recipe = ("probe", "examples", "-o", "lr.probe", "--recipe", "linear_probe")
    assert (
        "held-out pictures that chose its strength"
        in polymodal(*by_recipe, "--set", "iterations=20").stdout
    )
    used = polymodal("classify", "examples/cold", "--probe", "lr.probe", "--json")
    assert {line["label"] for line in used.lines} == {"cold"}
    assert "Did you mean 'iterations'" in polymodal(*by_recipe, "--set", "iteration=20").stderr
    assert "add --recipe" in polymodal("probe", "examples", "-o", "x", "--set", "seed=1").stderr


def test_match_gives_a_probability_a_pair(polymodal, pictures):
    right = polymodal("match", pictures / "red.png", "red", "--json").lines[0]
    wrong = polymodal("match", pictures / "red.png", "blue", "--json").lines[0]
    assert set(right) == {"input", "text", "probability"}
    assert 0 <= wrong["probability"] < right["probability"] <= 1


def test_match_reads_a_table_and_answers_by_a_threshold(polymodal, pictures):
    table = pictures / "pairs.csv"
    table.write_text("image,text\nred.png,red\nblue.png,red\ngone.png,red\nred.png,\n,red\n")
    ran = polymodal("match", "--pairs", table, "--threshold", "0.5", "--json")
    assert ran.code == 1
    assert [line.get("matches") for line in ran.lines] == [True, False, None, None, None]
    assert "text is empty" in ran.lines[3]["error"]
    assert "no picture" in ran.lines[4]["error"]
    assert ran.lines[2]["kind"] == "MediaNotFound"
    shown = polymodal("match", "--pairs", table, "--threshold", "0.5").stdout
    assert "yes" in shown
    assert "no" in shown


def test_moderate_says_what_decided(polymodal, pictures):
    ran = polymodal("moderate", pictures / "red.png", "--policy", "photo-quality", "--json")
    line = ran.lines[0]
    assert set(line) == {"input", "approved", "criterion", "scores"}
    assert isinstance(line["approved"], bool)
    assert line["criterion"] in line["scores"]


def test_moderate_takes_a_policy_file(polymodal, pictures, tmp_path):
    (tmp_path / "policy.toml").write_text(
        'name = "red only"\n[[criteria]]\nname = "red"\napprove = true\ntexts = ["red"]\n'
        'contrast = ["blue"]\nthreshold = 0.5\n'
    )
    ran = polymodal("moderate", pictures, "--policy", "policy.toml", "--json")
    approved = {Path(line["input"]).name: line["approved"] for line in ran.lines}
    assert approved["red.png"]
    assert not approved["blue.png"]
    table = polymodal("moderate", pictures, "--policy", "policy.toml").stdout
    assert "rejected" in table


def test_tables_fit_80_columns_and_carry_no_colour(polymodal, pictures, tmp_path):
    deep = tmp_path / "/".join(["a-folder-with-a-long-name"] * 5)
    deep.mkdir(parents=True)
    (pictures / "red.png").rename(deep / "a picture of a red square.png")
    for ran in (
        polymodal("classify", deep, "-l", "red " * 20, "-l", "blue"),
        polymodal("embed", deep),
        polymodal("moderate", deep),
    ):
        assert ran.code == 0, ran
        assert max(map(len, ran.stdout.splitlines())) <= 80
        assert "\x1b" not in ran.stdout + ran.stderr
        assert "\t" not in ran.stdout
        assert "red square.png" in ran.stdout


def test_names_cannot_drive_the_terminal(polymodal, pictures):
    (pictures / "red.png").rename(pictures / "line\nbreak \x1b[31m.png")
    ran = polymodal("classify", pictures, "-l", "red", "-l", "blue")
    assert ran.code == 0
    assert "\x1b" not in ran.stdout
    assert "line\\nbreak" in ran.stdout
    assert len(ran.stdout.splitlines()) == 6
    assert "line\nbreak" in polymodal("embed", pictures, "--json").lines[2]["input"]


def test_file_names_that_are_not_text_survive(polymodal, pictures):
    odd = os.fsencode(pictures) + b"/caf\xe9.png"
    (pictures / "red.png").rename(os.fsdecode(odd))
    ran = polymodal("embed", pictures, "--json")
    assert ran.code == 0
    assert "caf" in ran.lines[1]["input"]
    assert "vector" in ran.lines[1]
    assert polymodal("classify", pictures, "-l", "red", "-l", "blue").code == 0
