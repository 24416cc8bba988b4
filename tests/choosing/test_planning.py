"""A deployment planned: places, replicas, what breaks first, and what starts it."""

from __future__ import annotations

import json
import math
import random
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polymodal.catalog.choices import Choice
from polymodal.catalog.estimate import estimate
from polymodal.choosing.deployment import Deployment, WantedDevice, WantedModel
from polymodal.choosing.plan_files import vllm_command
from polymodal.choosing.planning import Plan, plan, read_deployment
from polymodal.choosing.queueing import latency_p95_s, most_rate, servers_for, waits
from polymodal.choosing.selecting import usual_load
from polymodal.cli.app import app
from polymodal.errors import ModelUnavailable, UsageError

GPUS = '[[devices]]\nname = "gpu"\nkind = "cuda"\nmemory = "24GB"\ncount = 2\n'
HOST = '[[devices]]\nname = "host"\nkind = "cpu"\nmemory = "16GB"\n'
VLM = "Qwen/Qwen2-VL-7B-Instruct"
SMALL: dict[str, Any] = {
    "num_query_tokens": 4,
    "text_config": {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 1000,
        "num_hidden_layers": 2, "num_attention_heads": 4,
    },
    "qformer_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
    "vision_config": {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "image_size": 64,
        "patch_size": 16,
    },
}  # fmt: skip
DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")
METHODS = ("awq", "fp8", "gguf", "gptq", "compressed-tensors", "bitsandbytes", "torchao")
VLLM: dict[str, Callable[[str], bool]] = {  # what `vllm serve` takes: see choosing/plan_files.py
    "--port": str.isdigit,
    "--dtype": DTYPES.__contains__,
    "--max-model-len": str.isdigit,
    "--max-num-seqs": str.isdigit,
    "--gpu-memory-utilization": lambda value: 0 < float(value) <= 1,
    "--limit-mm-per-prompt": lambda value: all(
        isinstance(count, int) for count in json.loads(value).values()
    ),
    "--quantization": METHODS.__contains__,
    "--revision": bool,
    "--served-model-name": bool,
}
"""Flags and types of vllm/engine/arg_utils.py at 99d7eb5; names of quantisation at 05d9095."""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))


def row(name: str, **keys: Any) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return f'[[models]]\nname = "{name}"\n' + "\n".join(lines) + "\n"


def planned(tmp_path: Path, *parts: str) -> Plan:
    return plan(read_deployment(written(tmp_path, *parts)))


def written(tmp_path: Path, *parts: str) -> Path:
    file = tmp_path / "deployment.toml"
    file.write_text("\n".join(parts), encoding="utf-8")
    return file


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["models", "plan", *arguments])


def test_waiting_is_that_of_erlangs_formula() -> None:
    assert waits(0.7, 1.0, 1) == pytest.approx(0.7)
    direct = (8**10 / math.factorial(10)) / (1 - 0.8)
    direct /= sum(8**n / math.factorial(n) for n in range(10)) + direct
    assert waits(8.0, 1.0, 10) == pytest.approx(direct)
    assert waits(3.0, 1.0, 2) == 1.0
    assert latency_p95_s(3.0, 1.0, 2) == math.inf


def test_the_wait_is_what_a_simulation_finds() -> None:
    chance = random.Random(1)
    rate, service, servers = 1.2, 1.0, 2
    free, now, waited = [0.0] * servers, 0.0, []
    for _ in range(150_000):
        now += chance.expovariate(rate)
        first = min(range(servers), key=free.__getitem__)
        begin = max(now, free[first])
        waited.append(begin - now)
        free[first] = begin + chance.expovariate(1 / service)
    found = sorted(waited)[int(0.95 * len(waited))]
    assert latency_p95_s(rate, service, servers) - service == pytest.approx(found, rel=0.1)


def test_the_fewest_servers_hold_the_latency_and_the_most_rate_is_where_it_ends() -> None:
    servers = servers_for(5.0, 0.5, 0.8)
    assert latency_p95_s(5.0, 0.5, servers) <= 0.8 < latency_p95_s(5.0, 0.5, servers - 1)
    most = most_rate(0.5, servers, 0.8)
    assert most >= 5.0
    assert latency_p95_s(most * 1.01, 0.5, servers) > 0.8


def test_a_generator_gets_a_gpu_and_room_for_its_requests(tmp_path: Path) -> None:
    asked = row(VLM, requests_per_s=2.0, latency_s=4.0, service_s=2.5, context_tokens=4096)
    found = planned(tmp_path, GPUS, HOST, asked)
    (model,) = found.models
    assert found.carries
    assert (model.devices, model.precision, model.served_by_vllm) == (("gpu:0",), "bfloat16", True)
    assert model.sequences == servers_for(2.0, 2.5, 4.0)
    from polymodal.catalog.choices import choice_of
    from polymodal.catalog.estimate import Load

    one = estimate(choice_of(VLM).config, Load(dtype="bfloat16", context_tokens=4096))
    assert model.memory_bytes == one.total_bytes + (model.sequences - 1) * one.kv_cache_bytes
    assert found.devices[0].used_bytes == model.memory_bytes
    assert VLM in found.breaks_first


def test_vllm_is_told_what_was_planned(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    asked = row(VLM, requests_per_s=2.0, service_s=2.5, quantize="4bit", pictures=2)
    file = written(tmp_path, GPUS, asked)
    done = run(str(file), "--write", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    (model,) = plan(read_deployment(file)).models
    words = shlex.split(vllm_command(model))
    assert words[:3] == ["vllm", "serve", VLM]
    flags = dict(zip(words[3::2], words[4::2], strict=True))
    assert flags["--quantization"] == "bitsandbytes"
    assert json.loads(flags["--limit-mm-per-prompt"]) == {"image": 2, "video": 0}
    assert int(flags["--max-num-seqs"]) == model.sequences
    share = float(flags["--gpu-memory-utilization"])
    assert model.memory_bytes < share * 24e9 < 24e9
    assert vllm_command(model) in done.stdout
    services = yaml.safe_load((tmp_path / "out" / "compose.yaml").read_text())["services"]
    (service,) = services.values()
    assert service["entrypoint"] == ["vllm", "serve"]  # the image's own is not the same in all
    assert service["command"] == words[2:]
    assert service["ports"] == ["8000:8000"]
    assert "CUDA_VISIBLE_DEVICES=0 vllm serve" in (tmp_path / "out" / "vllm.sh").read_text()


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_every_flag_is_one_of_vllms(quantize: str, tmp_path: Path) -> None:
    asked = row(VLM, requests_per_s=0.5, service_s=2.5, quantize=quantize)
    (model,) = planned(tmp_path, GPUS, asked).models
    words = shlex.split(vllm_command(model))
    flags = dict(zip(words[3::2], words[4::2], strict=True))
    assert set(flags) <= set(VLLM)
    for flag, value in flags.items():
        assert VLLM[flag](value), (flag, value)


def test_folders_reach_their_containers_and_keep_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yaml = pytest.importorskip("yaml")
    folders = [tmp_path / "first" / "mine", tmp_path / "second" / "mine"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({**SMALL, "model_type": "llava"}))
        (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    monkeypatch.chdir(tmp_path)
    names = ["./first/mine", str(folders[1])]
    asked = [row(name, requests_per_s=0.1, service_s=1.0) for name in names]
    done = run(str(written(tmp_path, GPUS, *asked)), "--write", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    services = yaml.safe_load((tmp_path / "out" / "compose.yaml").read_text())["services"]
    assert sorted(services) == ["mine-0", "mine-1"]
    for folder, service in zip(folders, services.values(), strict=True):
        assert service["command"][0] == str(folder)
        assert service["volumes"] == [f"{folder}:{folder}:ro"]
        named = service["command"].index("--served-model-name")
        assert service["command"][named + 1] == "mine"  # as -m openai:mine@URL asks for it


def test_a_config_that_contradicts_itself_is_taken_as_it_is() -> None:
    pytest.importorskip("transformers")
    from polymodal.catalog.choices import filled

    config = {**SMALL, "model_type": "llava"}  # 64 wide, and transformers' 12 heads
    assert filled(config) == config


def test_a_revision_is_told_apart_from_the_id(tmp_path: Path) -> None:
    (model,) = planned(tmp_path, GPUS, row(VLM, requests_per_s=0.1, service_s=1.0)).models
    words = shlex.split(vllm_command(replace(model, name=f"{VLM}@v1.1")))
    assert words[2:5] == [VLM, "--revision", "v1.1"]


def test_a_family_that_vllm_does_not_serve_is_run_here() -> None:
    choice = Choice("./instructblip", ("vqa",), "", {**SMALL, "model_type": "instructblip"})
    wanted = WantedModel(name="./instructblip", requests_per_s=0.1, service_s=1.0)
    wanted.__dict__["choice"] = choice
    served = WantedModel(name="./llava", requests_per_s=0.1, service_s=1.0)
    served.__dict__["choice"] = replace(choice, config={**choice.config, "model_type": "llava"})
    gpu = WantedDevice(name="gpu", kind="cuda", memory="24GB")
    found = plan(Deployment(devices=(gpu,), models=(wanted, served)))
    assert [each.served_by_vllm for each in found.models] == [False, True]
    assert [each.sequences for each in found.models] == [1, 1]
    assert any("vLLM does not serve its family" in problem for problem in found.problems)
    assert found.carries


def test_a_busy_model_gets_replicas_and_each_its_own_device_and_port(tmp_path: Path) -> None:
    asked = row(VLM, requests_per_s=40.0, service_s=2.5, context_tokens=2048)
    (model,) = planned(tmp_path, GPUS, asked).models
    assert model.replicas == 2
    assert set(model.devices) == {"gpu:0", "gpu:1"}


def test_a_smaller_precision_is_taken_where_the_device_is_small(tmp_path: Path) -> None:
    small = GPUS.replace("24GB", "10GB")
    (model,) = planned(tmp_path, small, row(VLM, requests_per_s=0.1, service_s=2.0)).models
    assert model.precision in {"bfloat16 8bit", "bfloat16 4bit"}
    assert model.memory_bytes <= 0.9 * 10e9


def test_what_has_no_room_is_there_on_demand_if_its_target_leaves_time(tmp_path: Path) -> None:
    host = HOST.replace("16GB", "2GB")
    first = row("google/siglip2-base-patch16-224", requests_per_s=1, service_s=0.05, load_s=2)
    second = row(
        "openai/clip-vit-large-patch14", requests_per_s=0.01, service_s=0.1, load_s=4, latency_s=10
    )
    found = planned(tmp_path, host, first, second)
    assert [each.resident for each in found.models] == [True, False] or not found.carries
    hasty = planned(tmp_path, host, first, second.replace("latency_s = 10", "latency_s = 1"))
    assert not hasty.carries
    assert any("has no place" in problem for problem in hasty.problems)
    assert "openai/clip-vit-large-patch14" in hasty.breaks_first


def test_what_cannot_be_carried_exits_with_1_and_says_why(tmp_path: Path) -> None:
    tiny = HOST.replace("16GB", "1GB")
    done = run(str(written(tmp_path, tiny, row(VLM, requests_per_s=1, service_s=2))))
    assert done.exit_code == 1
    assert f"{VLM} has no place" in done.stdout
    slow = row("starter", requests_per_s=1, service_s=2, latency_s=1)
    late = run(str(written(tmp_path, HOST, slow)), "--json")
    assert late.exit_code == 1
    assert "more than its target 1 s" in json.loads(late.stdout)["problems"][0]


def test_no_service_time_is_guessed(tmp_path: Path) -> None:
    found = planned(tmp_path, HOST, row("starter", requests_per_s=1))
    assert found.models[0].busy is None
    assert found.carries
    assert "nobody says how long a request takes" in found.problems[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GPUS + row(VLM, requests_per_s=1, latncy_s=2), "did you mean 'latency_s'"),
        (GPUS.replace("count", "cuont") + row(VLM, requests_per_s=1), "did you mean 'count'"),
        (GPUS + row(VLM, requests_per_s=0), "greater than 0"),
        (GPUS, "models: is missing"),
        (GPUS.replace("24GB", "lots") + row(VLM, requests_per_s=1), "8GB"),
        (GPUS + 2 * row(VLM, requests_per_s=1), "there twice"),
        (GPUS + row("openai:gpt-5.4", requests_per_s=1), "behind an API"),
        ("[[devices", "not TOML"),
    ],
)
def test_mistakes_name_the_file_and_the_nearest_key(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        read_deployment(written(tmp_path, text))


def test_an_unknown_model_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="Qwen/Qwen2-VL-7B-Instruct"):
        read_deployment(written(tmp_path, GPUS, row("Qwen/Qwen2VL-7B-Instruct", requests_per_s=1)))


def test_the_usual_load_leaves_room_for_an_answer() -> None:
    from polymodal.catalog.choices import choice_of

    load = usual_load(choice_of(VLM), "bfloat16")
    assert load.context_tokens >= 2048
