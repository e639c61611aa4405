"""Programs of agents and their models: read, checked, and rendered for the metering proxy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from agency.agent.programs.command.registry import AGENTS
from agency.agent.proxy.config import ProxyConfig
from agency.control.config import ControlConfig
from agency.control.runtimes.beside.writing import token_digest
from agency.errors import BadInputError
from agency.instance.fields.programs import AgentProgram
from agency.instance.load import load_instance
from agency.instance.needs import required_secrets
from agency.instance.problems import InstanceError
from agency.instance.render import rendered_files
from agency.paths import is_in_own_directory
from agency.spinup.targets.local.models import with_programs, write_proxy_config

TMPFILES = (
    Path(__file__).resolve().parents[3] / "modules/portable/parts/agents/machine/usr/lib/tmpfiles.d"
)
Write = Callable[[str], Path]
MODELS = """\
models:
  providers:
    claude: {kind: anthropic, url: "https://api.anthropic.com/"}
    local: {kind: openai, url: "http://127.0.0.1:11434", key: false}
  offered:
    large:
      provider: claude
      upstream: claude-sonnet-4-5
      maxOutputTokens: 16000
      price: {input: 3, output: 15, cacheRead: 0.3}
    small: {provider: local, price: {input: 0, output: 0}}
"""
PROGRAM = """\
    role: pm
    program:
      model: large
      models: [small, large]
      budget: {tokensPerDay: 1000, usdPerDay: 5, usdPerMonth: 60.5}
"""
COMMAND = """\
      kind: command
      agent: opencode
      run: [/opt/opencode/bin/opencode]
      ownTools: off
"""
CONTAINED = PROGRAM.replace("role: pm", "role: pm\n    runtime: docker") + COMMAND


@pytest.fixture
def working(good: str) -> str:
    return good.replace("    role: pm\n", PROGRAM) + MODELS


def test_the_proxy_accepts_what_is_rendered(write: Write, working: str) -> None:
    files = rendered_files(load_instance(write(working)))
    config = ProxyConfig.model_validate_json(files["proxy.json"])
    assert set(config.accounts) == {"pm"}
    account = config.accounts["pm"]
    assert account.models == ("large", "small")
    assert account.token_file == Path("/var/lib/agency-models/tokens/pm.sha256")
    assert (account.tokens_per_day, account.usd_per_month) == (1000, 60.5)
    assert config.credentials == ("model-claude-key",)
    assert config.providers["claude"].url == "https://api.anthropic.com"
    large = config.models["large"]
    assert (large.upstream, large.max_output_tokens) == ("claude-sonnet-4-5", 16000)
    assert large.price.cache_write is None


def test_both_sides_of_a_host_are_at_the_same_places(write: Write, working: str) -> None:
    files = rendered_files(load_instance(write(working)))
    proxy = ProxyConfig.model_validate_json(files["proxy.json"])
    control = ControlConfig.model_validate_json(files["control.json"])
    models = control.models
    assert models is not None
    assert models.policies is not None
    assert models.url == f"http://127.0.0.1:{proxy.port}"
    account = proxy.accounts["pm"]
    assert account.token_file == token_digest(models.tokens, "pm")
    assert account.gosuto == models.policies / "pm.json"
    assert models.audit_socket == proxy.audit_socket
    programs = {each.name: each.program for each in control.agents}
    assert programs["developer"] is None
    assert programs["pm"] is not None
    assert programs["pm"].model == "large"
    made = (TMPFILES / "agency-models.conf").read_text().splitlines()
    assert {models.policies, models.tokens} <= {Path(line.split()[1]) for line in made}


def test_only_keys_that_a_provider_wants_are_needed(write: Write, working: str, good: str) -> None:
    def keys(text: str) -> set[str]:
        needed = required_secrets(load_instance(write(text)).instance)
        return {each.name for each in needed if each.name.startswith("model-")}

    assert keys(working) == {"model-claude-key"}
    assert keys(working.replace("key: false", "key: true")) == {
        "model-claude-key",
        "model-local-key",
    }
    assert keys(good) == set()


def test_without_models_nothing_is_rendered_for_a_proxy(write: Write, good: str) -> None:
    assert "proxy.json" not in rendered_files(load_instance(write(good)))


def test_a_local_agency_puts_both_sides_at_the_same_places(
    write: Write, working: str, tmp_path: Path
) -> None:
    loaded = load_instance(write(working))
    control = tmp_path / "control"
    file = write_proxy_config(loaded.instance, tmp_path / "models", 2100, control)
    proxy = ProxyConfig.model_validate_json(file.read_bytes())
    rendered = json.loads(rendered_files(loaded)["control.json"])
    config = ControlConfig.model_validate(
        rendered | {"state_dir": str(control), "runtime": "process"}, strict=False
    )
    told = with_programs(config, loaded.instance, 2100)
    again = ControlConfig.model_validate_json(told.model_dump_json())
    assert again.models is not None
    assert again.models.url == f"http://127.0.0.1:{proxy.port}"
    assert proxy.accounts["pm"].token_file == again.models.tokens / "pm.sha256"
    assert proxy.accounts["pm"].gosuto == control / "agents/pm/gateway/state/policy.json"
    programs = {each.name: each.program for each in again.agents}
    assert programs["developer"] is None
    assert programs["pm"] is not None
    assert programs["pm"].model == "large"
    assert with_programs(config, loaded.instance, None) is config


def test_a_slot_in_a_container_may_have_a_program(write: Write, working: str) -> None:
    spare = "    role: pm\n    spare: true\n    runtime: docker\n"
    image = f"docker: {{image: 'a:1', imageId: 'sha256:{'0' * 64}'}}\n"
    files = rendered_files(load_instance(write(image + working.replace("    role: pm\n", spare))))
    config = ControlConfig.model_validate_json(files["control.json"])
    (slot,) = (each for each in config.agents if each.spare)
    assert slot.program is not None
    assert slot.program.model == "large"
    accounts = ProxyConfig.model_validate_json(files["proxy.json"]).accounts
    assert accounts["pm"].slot


@pytest.mark.parametrize(
    ("before", "after", "field", "said"),
    [
        ("model: large", "model: huge", "agents.pm.program", "no model 'huge'"),
        ("[small, large]", "[tiny]", "agents.pm.program", "one of large, small"),
        (MODELS, "", "agents.pm.program", "set `models` first"),
        (
            "    role: pm\n",
            "    role: pm\n    spare: true\n",
            "agents.pm.program",
            "the next agent would find",
        ),
        (
            PROGRAM,
            CONTAINED.replace("/opt/opencode/bin", "/usr/bin"),
            "agents.pm.program",
            "would hide that of the image; put it in one of its own, such as /opt/NAME",
        ),
        (
            "model: large",
            "model: large\n      kind: command",
            "agents.pm.program",
            "`agent` and `run`",
        ),
        ("model: large", "model: large\n      agent: opencode", "agents.pm.program", "`agent` and"),
        ("provider: local", "provider: other", "models", "no 'other' under providers"),
        ("https://api", "http://api", "models.providers.claude.url", "in clear"),
        ("https://api", "https://u:hidden-words@api", "models.providers.claude.url", "of its own"),
        ("kind: openai", "kind: cohere", "models.providers.local.kind", "openai"),
        ("usdPerDay: 5", "usdPerDay: -5", "agents.pm.program.budget.usdPerDay", "0"),
        ("      budget", "      budgets", "agents.pm.program.budget", "missing"),
        ("output: 15", "output: .nan", "models.offered.large.price.output", "finite"),
    ],
)
def test_mistakes_are_told_at_their_place(
    write: Write, working: str, before: str, after: str, field: str, said: str
) -> None:
    assert before in working
    with pytest.raises(InstanceError) as raised:
        load_instance(write(working.replace(before, after)))
    told = [each for each in raised.value.problems if each.field.startswith(field)]
    assert any(said in each.message for each in told), raised.value.problems
    assert "hidden-words" not in str(raised.value)


def test_the_control_plane_refuses_a_program_that_nothing_starts(
    write: Write, working: str
) -> None:
    loaded = load_instance(write(working))
    told = json.loads(rendered_files(loaded)["control.json"])
    ControlConfig.model_validate_json(json.dumps(told))
    lacking = {key: value for key, value in told.items() if key != "models"}
    with pytest.raises(ValueError, match="models: is not set, and pm"):
        ControlConfig.model_validate_json(json.dumps(lacking))
    told["docker"] = {"image": "agency-agent:1", "image_id": "sha256:" + "a" * 64}
    (pm,) = (each for each in told["agents"] if each["name"] == "pm")

    def read(runtime: str, **program: object) -> None:
        pm["program"] = {"model": "large", **program}
        ControlConfig.model_validate_json(json.dumps(told | {"runtime": runtime}))

    read("systemd")
    read("process")
    read("docker")
    command = {"kind": "command", "agent": "opencode", "run": ["/opt/opencode"]}
    read("process", **command)
    with pytest.raises(
        ValueError, match=r"no user of its own.*on a host, in the runtime docker or systemd"
    ):
        read("process", **command, own_tools="confined")
    with pytest.raises(ValueError, match=r"/opt in its container would be this machine's"):
        read("docker", **command)
    command["run"] = ["/opt/opencode/bin/opencode"]
    for runtime in ("docker", "systemd"):
        read(runtime, **command, own_tools="confined")


@pytest.mark.parametrize(
    ("program", "fits"),
    [
        ("/opt/opencode/bin/opencode", True),
        ("/srv/agents/opencode", True),
        ("/opencode", False),
        ("/opt/opencode", False),
        ("/opt/agency/bin/python3", False),
        ("/usr/local/bin/opencode", False),
        ("/var/lib/agency/own/opencode", False),
        ("/run/agency/opencode", False),
    ],
)
def test_a_program_is_shown_in_a_container_only_from_a_directory_of_its_own(
    program: str, fits: bool
) -> None:
    assert is_in_own_directory(Path(program)) is fits


def test_a_command_line_agent_is_read_and_handed_on(
    write: Write, working: str, tmp_path: Path
) -> None:
    loaded = load_instance(write(working.replace(PROGRAM, PROGRAM + COMMAND)))
    rendered = json.loads(rendered_files(loaded)["control.json"])
    config = ControlConfig.model_validate(
        rendered | {"state_dir": str(tmp_path), "runtime": "process"}, strict=False
    )
    (program,) = [
        each.program
        for each in with_programs(config, loaded.instance, 2100).agents
        if each.program is not None
    ]
    assert (program.kind, program.agent, program.own_tools) == ("command", "opencode", "off")
    assert program.run == (Path("/opt/opencode/bin/opencode"),)


def test_every_command_line_agent_may_be_named() -> None:
    named = get_args(get_args(AgentProgram.model_fields["agent"].annotation)[0])
    assert set(named) == set(AGENTS)


def test_a_local_agency_refuses_at_once_what_a_process_cannot_do(
    write: Write, working: str, tmp_path: Path
) -> None:
    text = working.replace(
        PROGRAM, PROGRAM + COMMAND.replace("ownTools: off", "ownTools: confined")
    )
    loaded = load_instance(write(text))
    rendered = json.loads(rendered_files(loaded)["control.json"])
    config = ControlConfig.model_validate(
        rendered | {"state_dir": str(tmp_path), "runtime": "systemd"}, strict=False
    )
    assert with_programs(config, loaded.instance, 2100).agents
    with pytest.raises(BadInputError, match="gives it no user of its own") as raised:
        with_programs(config.model_copy(update={"runtime": "process"}), loaded.instance, 2100)
    assert raised.value.where == "instance.yaml"
    assert raised.value.exit_code == 1
