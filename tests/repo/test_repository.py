"""What the repository promises: commands that exist, pins that cover, sizes that hold."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FILE_LINES = 400
FUNCTION_LINES = 60
SKIPPED = {".git", ".venv", "demo-out", "build", "dist", "__pycache__"}
CODE = ("src", "packages", "tools", "benchmarks", "recipes", "examples")


def files(*suffixes, folders=(".",)):
    """Files of the repository, what is built or installed left out."""
    for folder in folders:
        for path in sorted((REPOSITORY / folder).rglob("*")):
            parts = path.relative_to(REPOSITORY).parts
            hidden = any(part.startswith(".") and part != ".ci" for part in parts)
            wanted = path.suffix in suffixes or path.name in suffixes
            if wanted and path.is_file() and not hidden and not SKIPPED & set(parts):
                yield path


def targets():
    text = (REPOSITORY / "Makefile").read_text()
    return set(re.findall(r"^([a-z]+):.*##", text, re.MULTILINE))


def test_the_makefile_has_every_target_that_documents_name():
    named = set()
    for page in files(".md", "run"):
        named |= set(re.findall(r"(?:^|[`$ ])make ([a-z]+)\b(?=[`\s]|$)", page.read_text()))
    named -= {"it", "a", "the", "sure", "up", "them"}
    assert {"demo", "test", "lint"} <= named
    assert named <= targets()


def test_commands_in_the_documents_are_commands_with_those_options():
    import typer

    from polymodal.cli.app import app

    commands = typer.main.get_command(app).commands
    shown = []
    for page in files(".md"):
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            shown += re.findall(r"^(?:.*&& )?polymodal (?!--)(.*)$", block, re.MULTILINE)
    assert len(shown) > 10
    for line in shown:
        name, *words = re.sub(r'"[^"]*"', "X", re.split(r" [#|>&]", line)[0]).split()
        assert name in commands, line
        command = commands[name]
        if nested := getattr(command, "commands", None):  # `polymodal cache info`
            assert words, line
            assert words[0] in nested, line
            command = nested[words[0]]
        options = {option for p in command.params for option in p.opts + p.secondary_opts}
        used = {w for w in words if re.match(r"-{1,2}[a-z]", w)}
        assert used <= options | {"--json"}, line


def test_the_page_of_commands_is_what_help_prints():
    sys.path.insert(0, str(REPOSITORY))
    from tools.cli_docs import PAGE, render

    assert PAGE.read_text() == render(), "run `make docs`"


def test_links_in_the_documents_lead_somewhere():
    for page in files(".md"):
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not link.startswith(("http://", "https://")):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_no_file_names_a_place_of_one_machine():
    places = re.compile(r"(?<![\w.~])/(?:home|root|Users|work|opt|mnt)/\w")
    for path in files(".py", ".md", ".toml", ".txt", ".yml", "Makefile", "run"):
        found = [line for line in path.read_text().splitlines() if places.search(line)]
        allowed = path == Path(__file__).resolve()
        assert allowed or not found, f"{path}: {found}"


def test_every_dependency_is_pinned():
    pins = {}
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[normal(name)] = version
    for file in (REPOSITORY / "pyproject.toml", REPOSITORY / "packages/starter/pyproject.toml"):
        data = tomllib.loads(file.read_text())
        needed = [*data["build-system"]["requires"], *data["project"].get("dependencies", [])]
        for extra in data["project"].get("optional-dependencies", {}).values():
            needed += extra
        for requirement in needed:
            name = normal(re.match(r"[\w.-]+", requirement)[0])
            assert name in pins or name.startswith("polymodal"), requirement


def test_what_is_installed_is_what_is_pinned():
    """In an environment made by `make test`; elsewhere there is nothing to compare."""
    from importlib import metadata

    if Path(sys.prefix) != REPOSITORY / ".venv":
        pytest.skip("not in the environment that make test makes")
    text = (REPOSITORY / "constraints.txt").read_text()
    pins = dict(line.split("==") for line in text.splitlines() if "==" in line)
    pins = {normal(name): version for name, version in pins.items()}
    for each in metadata.distributions():
        name = normal(each.metadata["Name"])
        if name not in {"pip", "setuptools"} and not name.startswith("polymodal"):
            assert pins.get(name) == each.version, name


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("folder", CODE)
def test_files_have_one_subject(folder):
    for path in files(".py", folders=[folder]):
        count = len(path.read_text().splitlines())
        assert count <= FILE_LINES, f"{path.relative_to(REPOSITORY)} has {count} lines"


@pytest.mark.parametrize("folder", CODE)
def test_functions_fit_a_screen(folder):
    for path in files(".py", folders=[folder]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = node.end_lineno - node.lineno + 1
                where = f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}"
                assert count <= FUNCTION_LINES, f"{where} has {count} lines"


def test_the_changelog_starts_with_what_is_not_released():
    text = (REPOSITORY / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[(.+)\]", text, re.MULTILINE)[1] == "UNRELEASED"


def test_the_licence_is_apache_2():
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


def test_ci_runs_lint_and_tests_and_stops_at_the_first_failure():
    script = REPOSITORY / ".ci" / "run"
    text = script.read_text()
    assert "set -euo pipefail" in text
    assert text.index("make lint") < text.index("make test")
    assert script.stat().st_mode & 0o100
    subprocess.run(["bash", "-n", script], check=True)
