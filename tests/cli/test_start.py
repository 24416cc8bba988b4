"""Starting the command: what it imports, how it fails, what it prints where."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.models.weights import captioner_or_skip
from tests.tasks.pictures import marked, save

HEAVY = ["numpy", "PIL", "onnxruntime", "tokenizers", "qdrant_edge", "pydantic", "rich"]


def printed_without_heavy_imports(environment, *arguments):
    """What the command prints, in a process that must not load any of these."""
    program = (
        f"import sys; sys.argv = {['polymodal', *map(str, arguments)]}\n"
        "from polymodal.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, env=environment, stdout=subprocess.PIPE
    )
    return ran.stdout.decode()


def test_help_imports_nothing_heavy(environment):
    assert "caption" in printed_without_heavy_imports(environment, "--help")


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
