"""A host that runs another instance or another program than is here is not vouched for."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from agency.control.config import ControlConfig
from agency.instance.documents import control_document
from agency.instance.load import load_instance
from agency.machine.machine import Completed, MachineError
from agency.machine.ssh import machine
from agency.source_digest import source_root
from agency.spinup.program import Program, program_at, this_program
from agency.spinup.targets.ssh import identity
from agency.transcript.rules.v2.judge import PROBES

INSTANCE = load_instance(source_root() / "instance").instance
DOCUMENT = control_document(INSTANCE)


def refusal(**changes: object) -> str:
    settings = ControlConfig.model_validate({**DOCUMENT, **changes})
    with pytest.raises(MachineError) as caught:
        identity.require_instance(settings, INSTANCE, where="root@host")
    assert "--instance" in (caught.value.hint or "")
    assert caught.value.where == "root@host"
    return caught.value.message


def test_the_instance_that_it_runs_is_accepted() -> None:
    settings = ControlConfig.model_validate(DOCUMENT)
    identity.require_instance(settings, INSTANCE, where="root@host")


def test_what_a_machine_decides_by_itself_is_no_other_instance() -> None:
    agents = [{**agent, "port": 30_000 + at} for at, agent in enumerate(DOCUMENT["agents"])]
    changes = {"database_url": "postgresql+asyncpg:///x", "agents": agents[::-1]}
    settings = ControlConfig.model_validate({**DOCUMENT, **changes})
    identity.require_instance(settings, INSTANCE, where="root@host")


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"domain": "other.example"}, "domain: there other.example, here agency.example"),
        ({"instance": "other"}, "name: there other, here example"),
        (
            {"operators": ["@mallory:agency.example"]},
            "operators: there @mallory:agency.example, here @alice:agency.example",
        ),
        (
            {"operators": [*DOCUMENT["operators"], "@mallory:agency.example"]},
            "operators: there @alice:agency.example, @mallory:agency.example, here",
        ),
        ({"agents": DOCUMENT["agents"][:1]}, "agents: there developer, here developer, pm"),
        ({"agents": []}, "agents: there none, here developer, pm"),
        (
            {"agents": [{**agent, "role": "pm"} for agent in DOCUMENT["agents"]]},
            "agent developer: there pm @agent-developer:agency.example, here developer @agent",
        ),
    ],
)
def test_another_instance_is_refused_by_the_fact_that_differs(
    changes: dict[str, object], fact: str
) -> None:
    assert fact in refusal(**changes)


def test_every_fact_that_differs_is_named() -> None:
    said = refusal(domain="other.example", instance="other")
    assert "domain:" in said
    assert "name:" in said


class Host:
    """A machine on which one file can be read."""

    name = "root@host"

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    async def look(self, *argv: str, **_: object) -> Completed:
        assert argv[-1] == "/etc/agency/control.json"
        found = self.data is not None
        return Completed(0 if found else 1, self.data or b"", b"", truncated=False)

    @contextlib.asynccontextmanager
    async def dialogue(self, *_: str) -> Any:
        yield self

    async def ask(self, _: object, **__: object) -> Any:
        return json.loads(self.data or b"null")


async def test_settings_are_read_from_the_host() -> None:
    found = await identity.settings_of(Host(json.dumps(DOCUMENT).encode()))  # type: ignore[arg-type]
    assert found.domain == "agency.example"


@pytest.mark.parametrize(
    "data", [None, b"", b"[]", json.dumps({**DOCUMENT, "domain": 1}).encode()], ids=str
)
async def test_a_host_without_settings_is_told(data: bytes | None) -> None:
    with pytest.raises(MachineError, match=r"control\.json cannot be read"):
        await identity.settings_of(Host(data))  # type: ignore[arg-type]


class Asked:
    """Who answers one question."""

    def __init__(self, answer: object) -> None:
        self.machine, self.answer = Host(None), answer

    async def ask(self, question: str) -> object:
        assert question == "agency.program"
        return self.answer


async def test_a_program_that_does_not_say_what_it_is_is_refused() -> None:
    ours = this_program()
    assert await identity.program_of(Asked(ours.model_dump())) == ours  # type: ignore[arg-type]
    with pytest.raises(MachineError, match="does not say what it is"):
        await identity.program_of(Asked({"version": "0.1.0"}))  # type: ignore[arg-type]


OURS = Program(version="0.1.0", files={"a.py": "00" * 32, "b/c.j2": "11" * 32})


def test_the_same_program_is_accepted() -> None:
    identity.require_program(OURS.model_copy(), OURS, where="root@host")


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"version": "0.2.0"}, "version 0.2.0 there, 0.1.0 here, 0 files differ"),
        ({"files": {"a.py": "22" * 32, "b/c.j2": "11" * 32}}, "1 files differ: a.py"),
        ({"files": {"a.py": "00" * 32}}, "1 files differ: b/c.j2"),
        ({"files": {**OURS.files, "d.py": "33" * 32}}, "1 files differ: d.py"),
        ({"files": {}}, "2 files differ: a.py, b/c.j2"),
    ],
)
def test_another_program_is_refused(theirs: dict[str, object], said: str) -> None:
    with pytest.raises(MachineError) as caught:
        identity.require_program(OURS.model_copy(update=theirs), OURS, where="root@host")
    assert said in caught.value.message
    assert "switch" in (caught.value.hint or "")


def test_a_program_is_all_that_an_installation_keeps(tmp_path: Path) -> None:
    for name in ("a.py", "t/b.j2", "c.json", "__pycache__/a.pyc", "py.typed"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    found = program_at(tmp_path)
    assert sorted(found.files) == ["a.py", "c.json", "t/b.j2"]
    before = found.digest
    (tmp_path / "t/b.j2").write_text("changed")
    assert program_at(tmp_path).digest != before
    assert "spinup/targets/ssh/identity.py" in this_program().files


def test_the_evidence_satisfies_the_rule() -> None:
    settings = ControlConfig.model_validate(DOCUMENT)
    rule = PROBES["host.system"]
    system = {"kind": "debian", "packages": 261, "digest": "7c" * 32}
    seen = {"os": "Debian GNU/Linux 12 (bookworm)", "kernel": "6.1.0", "system": system}
    whole = {**seen, **identity.evidence(settings, this_program())}
    assert rule.judge(whole).ok, rule.judge(whole)
    assert not rule.judge(seen).ok


def test_nobody_steers_the_suite_by_the_environment() -> None:
    harmless = {"HOME": "/root", "SSH_AUTH_SOCK": "/run/agent", "PATH": "/usr/bin"}
    steering = {"PYTEST_ADDOPTS": "-k noticed", "PYTEST_PLUGINS": "x", "PYTHONOPTIMIZE": "2"}
    there = machine.SshMachine("root@host", "ssh", Path("/c"), None, {**harmless, **steering})  # type: ignore[arg-type]
    assert there.suite_host()[1] == harmless
