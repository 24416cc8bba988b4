"""`--schema MODULE:CLASS`: what the import leaves behind."""

import sys

import pytest

from polymodal.cli.schema_option import schema_of

MODULES = {
    "puts_one_before": "sys.path.insert(0, 'elsewhere')",
    "puts_one_behind": "sys.path.append('elsewhere')",
    "takes_its_own_away": "sys.path.pop(0)",
}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_changes_the_path_keeps_its_change_and_ours_is_undone(
    tmp_path, monkeypatch, module
):
    (tmp_path / f"{module}.py").write_text(f"import sys\n{MODULES[module]}\nclass Item: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", before := list(sys.path))
    wanted = {
        "puts_one_before": ["elsewhere", *before],
        "puts_one_behind": [*before, "elsewhere"],
        "takes_its_own_away": list(before),
    }
    found = schema_of(f"{module}:Item")
    del sys.modules[module]
    assert found.__name__ == "Item"
    assert sys.path == wanted[module]
