"""Starting the command: what it imports, how it fails, what it prints where."""

import inspect
import os
import signal
import subprocess
import sys
import time
from importlib import import_module

import pytest

from polymodal.cli.tree import COMMANDS
from tests.models.weights import captioner_or_skip
from tests.tasks.pictures import marked, save

HEAVY = ["numpy", "PIL", "onnxruntime", "tokenizers", "qdrant_edge", "pydantic", "rich"]


def command_modules():
    """Modules of commands, and the names of the commands that are in each."""
    modules = {}
    for name, row in COMMANDS.items():
        inner = {name: row.where} if isinstance(row.where, str) else row.where
        for where in inner.values():
            modules.setdefault(f"polymodal.cli.{where.partition(':')[0]}", set()).add(name)
    return modules


def printed_without_heavy_imports(environment, *arguments, heavy=HEAVY):
    """What the command prints, in a process that must not load any of these."""
    program = (
        f"import sys; sys.argv = {['polymodal', *map(str, arguments)]}\n"
        "from polymodal.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"loaded = [name for name in {list(heavy)} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, env=environment, stdout=subprocess.PIPE
    )
    return ran.stdout.decode()


def test_help_imports_nothing_heavy(environment):
    assert "caption" in printed_without_heavy_imports(environment, "--help")


def test_a_command_imports_no_other_command(environment):
    modules = command_modules()
    assert len(modules) > 10
    assert "caption" in printed_without_heavy_imports(environment, "--help", heavy=modules)
    others = [module for module, names in modules.items() if "caption" not in names]
    assert len(others) == len(modules) - 1
    assert "--style" in printed_without_heavy_imports(
        environment, "caption", "--help", heavy=others
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_the_whole_says_what_the_command_says_first(name, polymodal):
    row = COMMANDS[name]
    said = polymodal(name, "--help", mock=False).stdout
    assert f"\n  {row.summary}" in said
    if isinstance(row.where, str):
        module, _, function = row.where.partition(":")
        found = getattr(import_module(f"polymodal.cli.{module}"), function)
        assert inspect.getdoc(found).splitlines()[0] == row.summary


@pytest.mark.parametrize(
    ("words", "meant"), [(["captoin"], "caption"), (["models", "shw"], "show")]
)
def test_an_unknown_command_names_the_nearest(words, meant, polymodal):
    ran = polymodal(*words, mock=False)
    assert ran.code == 2
    assert f"No such command {words[-1]!r}. Did you mean {meant!r}?" in ran.stderr


def test_garbage_is_looked_for_while_a_command_works(environment):
    program = (
        "import gc, sys\n"
        "import polymodal.cli.describe as describe\n"
        "describe.find_inputs = lambda paths: sys.exit(0 if gc.isenabled() else 7)\n"
        "sys.argv = ['polymodal', 'caption', 'x.png']\n"
        "from polymodal.cli import main\n"
        "main()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_a_program_that_runs_a_command_looks_for_garbage_after_it(environment):
    program = (
        "import gc, sys\n"
        "sys.argv = ['polymodal', '--help']\n"
        "from polymodal.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    sys.exit(0 if gc.isenabled() and not gc.get_freeze_count() else 7)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_captions_that_the_cache_knows_need_nothing_heavy(environment, process, tmp_path):
    captioner_or_skip()
    pictures = tmp_path / "things"
    for name in ("red", "green"):
        save(marked(name), pictures / f"{name}.png")
    first = process("caption", pictures, "--json")
    assert first.code == 0
    assert printed_without_heavy_imports(environment, "caption", pictures, "--json") == first.stdout


def test_help_names_every_command_whole(process):
    ran = process("--help")
    assert ran.code == 0
    names = (
        "add search similar duplicates classify match moderate probe embed"
        " read extract caption ask transcribe watch"
        " info export import delete reembed demo cache journal"
    )
    for name in names.split():
        assert f"\n  {name} " in ran.stdout
    assert "..." not in ran.stdout.replace("[ARGS]...", "")
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_version_is_the_package_s(process):
    import polymodal as package

    assert process("--version").stdout == f"polymodal {package.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "x.png"],
        ["classify", "x.png", "-l", "a", "--labels", "b.txt"],
        ["classify", "x.png", "-l", "a", "--unknown", "7"],
        ["match", "x.png"],
        ["match", "x.png", "text", "--threshold", "2"],
        ["embed"],
        ["search"],
        ["search", "text", "--query", "text"],
        ["search", "text", "--weights", "heavy"],
        ["search", "text", "-k", "0"],
        ["search", "text", "-c", "nowhere"],
        ["delete"],
        ["classify", "x.png", "-l", "a", "--no-such-option"],
        ["no-such-command"],
        ["embed", "--text", "red", "--device", "abacus"],
        ["moderate", "x.png", "--policy", "no-such-policy"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_a_message(polymodal, arguments):
    ran = polymodal(*arguments)
    assert ran.code == 2, ran
    assert ran.stdout == ""
    assert ran.stderr.strip()
    assert "Traceback" not in ran.stderr


def test_a_missing_model_is_exit_code_3_and_names_what_there_is(process, pictures):
    ran = process("embed", pictures, "-m", "stater")
    assert ran.code == 3
    assert "stater" in ran.stderr
    assert "starter" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_debug_shows_the_traceback(process):
    ran = process("classify", "x.png", POLYMODAL_DEBUG="1")
    assert ran.code == 1
    assert "Traceback" in ran.stderr


@pytest.mark.parametrize("count", [1, 2000])
def test_a_reader_that_has_enough_is_silent(count, environment, tmp_path):
    # Results into a pipe whose reader is gone before the first is written; an empty text fails.
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"red {number}" for number in range(count)))
    command = [sys.executable, "-m", "polymodal", "embed", "--texts", str(texts), "--json"]
    command += ["--text", ""]
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(
        [*command, "-m", "mock"], stdout=write, stderr=subprocess.PIPE, env=environment, text=True
    )
    os.close(write)
    _, complaints = process.communicate(timeout=120)
    assert "Traceback" not in complaints
    assert "Broken" not in complaints
    assert process.returncode == 0


def test_results_go_to_their_file_while_a_bar_is_on_the_terminal(environment, pictures, tmp_path):
    command = [sys.executable, "-m", "polymodal", "embed", pictures, "--json", "-m", "mock"]
    terminal, end = os.openpty()
    with (tmp_path / "out.jsonl").open("w") as out:
        subprocess.run(command, check=True, env=environment, stdout=out, stderr=end)
    os.close(end)
    drawn = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "embedding" in drawn
    assert "vector" not in drawn
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 5


def test_ctrl_c_is_one_line_and_exit_code_130(environment):
    command = [sys.executable, "-m", "polymodal", "embed", "--texts", "-", "-m", "mock"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        # In a job in the background it is ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    time.sleep(1.5)  # it now waits for its input
    process.send_signal(signal.SIGINT)
    out, complaints = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert complaints.count("\n") == 1
    assert "Traceback" not in complaints
