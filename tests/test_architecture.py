"""What the tree must look like: imports only point down, public names are complete and sorted."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import polymodal

SOURCE = Path(polymodal.__file__).parent
LAYERS = [
    {"cli"},
    {"choosing"},
    {"suite"},
    {
        *("suite_answers", "suite_captions", "suite_documents", "suite_judging"),
        *("suite_models", "suite_speech"),
    },
    {"suite_parts"},
    {"tasks", "search"},
    {"runtime", "catalog"},
    {"training"},
    {"models"},
    {"media"},
    {"results_answers", "results_cascades", "results_documents", "results_speech"},
    {"results"},
    {"results_captions", "results_search", "results_sorting", "results_vectors"},
    {"results_core"},
    {"errors", "profiling"},
    {"profiles"},
    {"nn"},  # building blocks in torch: nothing of the package
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem in LEVEL)
HEAVY = {"numpy", "onnxruntime", "PIL", "pydantic", "qdrant_edge", "safetensors", "tokenizers"}


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> list[tuple[int, str]]:
    """Line and part of the package of every import of polymodal in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: relative import"
            names = [node.module or ""]
            if node.module == "polymodal":
                names = [f"polymodal.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "polymodal" and rest:
                found.append((node.lineno, rest.split(".")[0]))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_only_point_down(path: Path) -> None:
    own = part_of(path)
    for line, other in imported_parts(path):
        if other == own or other not in LEVEL:
            # Public names of the package itself ("__version__") stand above nothing.
            assert other == own or other.startswith("__"), f"{path.name}:{line} imports {other}"
            continue
        assert LEVEL[own] < LEVEL[other], f"{path.name}:{line}: {own} may not import {other}"


def test_every_part_has_its_place() -> None:
    parts = {part_of(path) for path in SOURCE.rglob("*.py")}
    assert parts - {"__init__", "__main__"} <= set(LEVEL)


def test_public_names_are_sorted_and_there() -> None:
    assert polymodal.__all__ == sorted(polymodal.__all__)
    for name in polymodal.__all__:
        assert getattr(polymodal, name).__module__.startswith("polymodal."), name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = polymodal.Nothing


def test_public_names_are_complete() -> None:
    from polymodal import errors, results

    expected = {*errors.__all__, *results.__all__} - {"Vector"}
    assert expected <= set(polymodal.__all__)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = [a.name for n in guarded.body if isinstance(n, ast.ImportFrom) for a in n.names]
    assert sorted(seen) == polymodal.__all__


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE))
)
def test_a_file_has_one_subject(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def loaded_by(code: str) -> set[str]:
    """Heavy modules that a fresh interpreter has loaded after `code`."""
    report = "import sys; print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return HEAVY & set(done.stdout.split())


def test_importing_the_package_loads_no_heavy_library() -> None:
    assert loaded_by("import polymodal") == set()
    assert loaded_by("import polymodal; polymodal.Suite()") == set()
    assert loaded_by("import polymodal.cli") == set()
    assert loaded_by("from polymodal import UsageError") == set()
