"""What is signed holds no secret of the run: each is known, wherever it shows, whatever fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from agency.clock import Clock
from agency.machine.machine import MachineError
from agency.quarantine import Quarantine
from agency.secrets.redact import MARK, Redactor
from agency.secrets.values import SecretValue
from agency.spinup import examination as examining
from agency.spinup.examination import Examination, UnknownSecretsError
from agency.spinup.execute import tear_down
from agency.spinup.progress import Progress
from agency.spinup.record import Recorder
from agency.spinup.remote.subject import RemoteSubject
from agency.spinup.run import Run
from agency.spinup.statement import Facts, statement
from agency.spinup.target import hold_secrets

HANDOVER = "/run/agency-control/agents"
PASSWORD = SecretValue("the-password-of-all")


@dataclass
class SimulatedMachine:
    """A simulated machine on which `cat` and `test ! -e` work on `files`."""

    files: dict[str, str] = field(default_factory=dict)
    broken: bool = False
    name: str = "simulated"

    async def look(self, *argv: str, **_: object) -> Any:
        await asyncio.sleep(0)
        if self.broken:
            raise MachineError("it has ended", where=self.name)
        content = self.files.get(argv[-1])
        there = content is not None
        ended = there is (argv[0] == "cat")
        return SimpleNamespace(exit_status=int(not ended), stdout=(content or "").encode())

    def hand(self, name: str, token: str) -> None:
        self.files = {**self.files, f"{HANDOVER}/{name}.token": token}


class SearchedHere:
    """A simulated observer of a machine that finds nothing itself."""

    async def ask(self, probe: str, told: dict[str, Any]) -> dict[str, Any]:
        assert probe == "secrets.search"
        return {"secretsChecked": len(told["values"]), "findings": 0, "places": []}


@pytest.fixture
def machine() -> SimulatedMachine:
    return SimulatedMachine()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder("incus", Clock(), Progress(Console(quiet=True), quiet=True))


@pytest.fixture
def examination(machine: SimulatedMachine, recorder: Recorder) -> Examination:
    names = ("pm", "developer")
    agents = [SimpleNamespace(name=name, role=name) for name in names]
    instance = SimpleNamespace(
        domain="a.example", operators=["@alice:a.example"], resolved_agents=lambda: agents
    )
    empty: Any = None
    subject = RemoteSubject(
        machine=machine,  # type: ignore[arg-type]
        observer=SearchedHere(),  # type: ignore[arg-type]
        instance=instance,  # type: ignore[arg-type]
        session=empty,
        homeserver_url="",
        control_url="",
        secrets=lambda _: PASSWORD,
        known=lambda: [PASSWORD],
        password=lambda _: PASSWORD,
    )
    return Examination(recorder, subject)


def revealed(values: Any) -> set[str]:
    return {value.reveal() for value in values}


def told(recorder: Recorder, text: str) -> None:
    recorder.heard(
        "status", said="!status", by="@alice:a.example", expected="", observed={"reply": text},
        passed=True,
    )  # fmt: skip


async def test_every_token_that_an_agent_ever_had_is_known(
    machine: SimulatedMachine, examination: Examination
) -> None:
    machine.hand("pm", "first-token-of-pm")
    machine.hand("developer", "token-of-developer")
    await examination.subject.learn_secrets()
    machine.hand("pm", "second-token-of-pm")  # it was restarted
    await examination.subject.learn_secrets()
    machine.files.clear()  # all were stopped
    tokens = {"first-token-of-pm", "second-token-of-pm", "token-of-developer"}
    assert revealed(await examination.all_secrets()) == {*tokens, PASSWORD.reveal()}
    machine.broken = True
    assert revealed(examination.known_secrets()) == {*tokens, PASSWORD.reveal()}


async def test_a_token_that_cannot_be_read_is_an_error(examination: Examination) -> None:
    class Unreadable(SimulatedMachine):
        async def look(self, *argv: str, **_: object) -> Any:
            return SimpleNamespace(exit_status=1, stdout=b"")

    examination.subject.machine = Unreadable()  # type: ignore[attr-defined]
    with pytest.raises(UnknownSecretsError, match="cannot be read"):
        await examination.all_secrets()


async def test_a_machine_that_never_answers_is_an_error(
    examination: Examination, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(examining, "_COLLECT_S", 0.05)
    monkeypatch.setattr(SimulatedMachine, "look", never)
    with pytest.raises(UnknownSecretsError, match=r"no answer within 0\.05 s"):
        await examination.all_secrets()


class Visitor:
    """Somebody whom nobody can invite, or ask anything."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.access_token = f"access-token-of-{user_id}"

    async def join(self, alias: str) -> str:
        return "!room:a.example"

    async def request(self, *_: object) -> Any:
        raise MachineError("refused")

    async def invite(self, *_: object) -> None:
        raise MachineError("refused")


async def test_the_operator_is_the_first_however_slow_the_log_in(
    examination: Examination, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def log_in(_: object, user_id: str) -> Visitor:
        await asyncio.sleep(0.05 if "alice" in user_id else 0)
        return Visitor(user_id)

    monkeypatch.setattr(RemoteSubject, "log_in", log_in)
    with pytest.raises(MachineError, match="refused"):
        await examination.gather()
    assert [who.user_id for who in examination.people] == ["@alice:a.example", "@visitor:a.example"]


async def test_who_logged_in_is_known_whatever_came_after(
    examination: Examination, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def log_in(_: object, user_id: str) -> Visitor:
        return Visitor(user_id)

    monkeypatch.setattr(RemoteSubject, "log_in", log_in)
    with pytest.raises(MachineError, match="refused"):
        await examination.gather()
    known = revealed(examination.known_secrets())
    assert {f"access-token-of-@{who}:a.example" for who in ("alice", "visitor")} <= known


async def test_what_was_said_is_searched_too(
    machine: SimulatedMachine, examination: Examination, recorder: Recorder
) -> None:
    machine.hand("pm", "first-token-of-pm")
    await examination.subject.learn_secrets()
    machine.files.clear()
    told(recorder, "pm: running")
    await examination.secrets_left()
    told(recorder, "pm: running, first-token-of-pm")
    await examination.secrets_left()
    clean, leaked = (probe.evidence for probe in recorder.probes)
    assert (clean["findings"], clean["places"]) == (0, [])
    assert (leaked["findings"], leaked["places"]) == (1, ["evidence"])
    assert leaked["secretsChecked"] == 2


async def test_what_was_made_meanwhile_is_sought_at_the_end(
    examination: Examination, recorder: Recorder
) -> None:
    examination.issued.append(SecretValue("client-secret-of-a-provider"))
    told(recorder, "client-secret-of-a-provider")
    await examination.secrets_left()
    assert recorder.probes[-1].evidence["findings"] == 1


FACTS = Facts(
    run="run-0000000000000000",
    started_at="2026-07-01T12:00:00.000Z",
    finished_at="2026-07-01T12:00:09.500Z",
    subjects={"source": {"sha256": "a1" * 32}, "instance": {"sha256": "d4" * 32}},
    versions={"agency": "0.1.0"},
    network=Quarantine("none", "not looked at"),
)


def signed(recorder: Recorder, *secrets: str) -> dict[str, Any]:
    redactor = Redactor(map(SecretValue, secrets))
    return dict(statement(recorder, FACTS, redactor).document()["predicate"])


LEAKS: dict[str, Callable[[Recorder], object]] = {
    "reply": lambda recorder: told(recorder, "pm runs with token-of-pm"),
    "key": lambda recorder: recorder.heard(
        "x", said="", by="a", expected="", observed={"files": {"/x/token-of-pm": 1}}, passed=True
    ),
    "version": lambda recorder: recorder.versions.update(synapse="token-of-pm"),
}


@pytest.mark.parametrize("where", LEAKS)
def test_a_secret_anywhere_is_redacted_and_fails_the_run(where: str, recorder: Recorder) -> None:
    assert signed(recorder, "token-of-pm")["failure"] is None
    LEAKS[where](recorder)
    predicate = signed(recorder, "token-of-pm")
    text = json.dumps(predicate)
    assert "token-of-pm" not in text
    assert MARK in text
    assert predicate["result"] == "FAILED"
    assert "a secret was found" in predicate["failure"]["message"]
    assert signed(recorder, "another-token")["failure"] is None


@pytest.mark.parametrize("broken", [False, True], ids=["tells", "tells nothing"])
async def test_what_could_not_be_collected_is_a_failure_on_record(
    broken: bool, machine: SimulatedMachine, examination: Examination
) -> None:
    recorder = examination.recorder
    run, ended = Run(recorder, ()), list[str]()
    run.held.push(lambda: ended.append("ended"))
    hold_secrets(run, examination)
    machine.hand("pm", "first-token-of-pm")
    await examination.subject.learn_secrets()
    machine.hand("pm", "second-token-of-pm")
    machine.broken = broken
    assert await tear_down(run) == ()
    failure = recorder.failure
    assert ended == ["ended"], "it is stopped all the same"
    assert (failure is not None) is broken
    known = {"first-token-of-pm", *([] if broken else ["second-token-of-pm"])}
    assert revealed(run.known_secrets) == {PASSWORD.reveal(), *known}
    if failure is not None:
        assert failure.step == "teardown"
        assert "may hold a token" in failure.message
        assert signed(recorder, *revealed(run.known_secrets))["result"] == "FAILED"
