"""The coroutine of each target, with everything that it calls simulated: its steps and its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from rich.console import Console

from agency.clock import Clock
from agency.errors import AgencyError
from agency.instance import load_instance
from agency.quarantine import Quarantine
from agency.secrets.values import SecretValue
from agency.source_digest import source_root
from agency.spinup.execute import take_steps, tear_down
from agency.spinup.progress import Progress
from agency.spinup.record import Recorder
from agency.spinup.run import Run
from agency.spinup.target import hold_setting
from agency.spinup.targets.incus import target as incus
from agency.spinup.targets.incus.config import Config as GuestConfig
from agency.spinup.targets.local import target as local
from agency.spinup.targets.ssh import target as ssh
from agency.spinup.targets.ssh.config import Config as HostConfig
from agency.transcript.rules.v2.judge import STEPS

Monkey = pytest.MonkeyPatch
INSTANCE = load_instance(source_root() / "instance").instance
DIGEST = "5c" * 32


class World:
    """Simulated parts that note what was done with them; `fails` names one that fails."""

    def __init__(self, tmp_path: Path, fails: str | None = None) -> None:
        self.done: list[str] = []
        self.fails = fails
        run = SimpleNamespace(path=tmp_path / "gone", run="run-x", logs=tmp_path / "gone")
        run.remove = self.note("directory removed")
        self.setting: Any = SimpleNamespace(
            directory=run,
            network=Quarantine("namespace"),
            loaded=MagicMock(instance=INSTANCE),
            session=None,
            secrets=SimpleNamespace(
                names=lambda: ["x"],
                get=lambda _: SecretValue("of the instance"),
                close=self.note("secrets closed"),
            ),
        )

    def note(self, what: str) -> Any:
        def noted(*_: object, **__: object) -> None:
            self.done.append(what)
            if what == self.fails:
                raise AgencyError(f"{what} failed")

        return noted

    def anote(self, what: str, value: object = None) -> Any:
        async def noted(*_: object, **__: object) -> object:
            self.note(what)()
            return value

        return noted

    @contextlib.asynccontextmanager
    async def context(self, what: str, value: object) -> AsyncIterator[Any]:
        yield value
        self.note(f"{what} left")()

    def examination(self, *_: object) -> Any:
        known = [SecretValue("of the agency")]
        return MagicMock(
            homeserver=AsyncMock(),
            readiness=AsyncMock(),
            control=AsyncMock(return_value=self.talk),
            gather=AsyncMock(return_value=self.talk),
            scenario=self.anote("scenario"),
            records=AsyncMock(),
            processes=AsyncMock(),
            services=AsyncMock(),
            metrics=AsyncMock(),
            secrets_left=AsyncMock(),
            known_secrets=lambda: known,
            all_secrets=self.anote("asked for secrets", [SecretValue("a token")]),
            people=[SimpleNamespace(log_out=self.anote("logged out"))],
        )

    @property
    def talk(self) -> Any:
        return SimpleNamespace(
            room="!r", outsider=SimpleNamespace(leave=self.anote("outsider left"))
        )

    async def run(self, name: str, target: Any) -> Run:
        recorder = Recorder(name, Clock(), Progress(Console(quiet=True), quiet=True))
        run = Run(recorder, STEPS[name][:-1])
        hold_setting(run, self.setting)
        wish = asyncio.Event()
        assert await take_steps(run, target.spin_up(run), timeout_s=60, interrupted=wish) == ()
        assert await tear_down(run) == ()
        return run


def statuses(run: Run) -> dict[str, str]:
    return {step.name: step.status for step in run.recorder.steps}


def revealed(run: Run) -> set[str]:
    return {value.reveal() for value in run.known_secrets}


def local_target(world: World, patch: Monkey) -> Any:
    agency = SimpleNamespace(
        session=None,
        close=world.note("ports let go"),
        supervisor=SimpleNamespace(stop_all=world.anote("services stopped")),
        install=world.note("installed"),
        launch_control=AsyncMock(),
        start_homeserver=AsyncMock(),
        create_people=AsyncMock(),
        control_ready=AsyncMock(),
    )
    held = SimpleNamespace(numbers={"control": 1})
    patch.setattr(local, "hold_ports", lambda *_: held)
    patch.setattr(local, "LocalAgency", lambda *_: agency)
    patch.setattr(local, "Examination", world.examination)
    return local.LocalTarget(world.setting, {})


def ssh_target(world: World, patch: Monkey, *, read_only: bool = False) -> Any:
    host = MagicMock(
        require_root=world.anote("looked who we are"),
        program=AsyncMock(return_value="/bin/agency"),
        secret=AsyncMock(return_value=SecretValue("of the host")),
        own_units=AsyncMock(return_value=SimpleNamespace(shown=(), ended=(), bad=())),
        Roll=lambda *_: SimpleNamespace(shown=(), ended=(), bad=()),
        system=AsyncMock(return_value={}),
    )
    identity = MagicMock(
        settings_of=AsyncMock(), program_of=AsyncMock(), evidence=dict, require_program=MagicMock()
    )
    patch.setattr(ssh, "host", host)
    patch.setattr(ssh, "identity", identity)
    patch.setattr(ssh, "Observer", lambda *_: observer(world))
    patch.setattr(ssh, "reached", lambda _: world.context("forwards", URLS))
    patch.setattr(ssh, "Examination", world.examination)
    patch.setattr(ssh, "run_suite", AsyncMock(return_value=SimpleNamespace(as_dict=dict)))
    patch.setattr(
        ssh, "units", SimpleNamespace(show=AsyncMock(return_value={}), failure=AsyncMock())
    )
    machine: Any = SimpleNamespace(
        name="host", close=world.anote("connection closed"), guard=never_ends
    )
    password_file = None if read_only else Path("passwords")
    config = HostConfig("root@host", (), 1, Path(), 1, password_file)
    return ssh.SshTarget(world.setting, config, machine, MagicMock(), {})


URLS = ("http://127.0.0.1:1", "http://127.0.0.1:2")


def observer(world: World) -> Any:
    return SimpleNamespace(
        close=world.anote("observer closed"), ask=AsyncMock(return_value={"mode": "guest"})
    )


async def never_ends() -> None:
    await asyncio.Event().wait()


def incus_target(world: World, patch: Monkey, *, keep: bool = False) -> Any:
    convergence = MagicMock(
        activate=AsyncMock(return_value={"digests": {}, "systemDigest": None}),
        again=AsyncMock(return_value={}),
        drift=AsyncMock(return_value={}),
    )
    provisioned = SimpleNamespace(packages=AsyncMock(return_value={}), convergence=convergence)
    system = MagicMock(provision=world.anote("provisioned", provisioned))
    system.image.fingerprint = DIGEST
    guest = MagicMock(
        wait_running=world.anote("booted"),
        destroy=world.anote("guest destroyed"),
        usage=AsyncMock(return_value=MagicMock(memory=1)),
    )
    guest.name = "agency-run-x"
    maker = MagicMock(
        hold=lambda: world.context("image", MagicMock(system=system)),
        create=world.anote("created", guest),
    )
    secrets = MagicMock(values=lambda: [SecretValue("of the run")])
    secrets.loaded.instance = INSTANCE
    secrets.close = world.note("run's secrets closed")
    patch.setattr(incus, "RunSecrets", SimpleNamespace(make=lambda *_: secrets))
    patch.setattr(incus, "keep", world.anote("guest kept"))
    for name in ("offline", "running", "databases"):
        patch.setattr(incus.evidence, name, AsyncMock(return_value={}))
    patch.setattr(incus.evidence, "image", lambda *_: {})
    patch.setattr(incus.evidence, "gone", world.anote("looked for the guest", {}))
    for name in ("create_people", "start_provider", "issue_client", "stop_provider", "reboot"):
        patch.setattr(incus, name, AsyncMock(return_value=MagicMock(secret_values=[])))
    patch.setattr(incus.oidc, "oidc_login", AsyncMock(return_value={}))
    patch.setattr(incus, "run_suite", AsyncMock(return_value=SimpleNamespace(as_dict=dict)))
    patch.setattr(incus, "Observer", lambda *_: observer(world))
    patch.setattr(incus, "reached", lambda _: world.context("forwards", URLS))
    patch.setattr(incus, "Examination", world.examination)
    patch.setattr(incus, "Watch", lambda *_, **__: MagicMock(guard=never_ends, explain=AsyncMock()))
    patch.setattr(incus.units, "show", AsyncMock(return_value={}))
    patch.setattr(incus, "AgentsAudit", MagicMock())
    return incus.IncusTarget(world.setting, GuestConfig(keep=keep), maker)


TARGETS: dict[str, Any] = {"local": local_target, "incus": incus_target, "ssh": ssh_target}


@pytest.mark.parametrize("name", TARGETS)
async def test_the_steps_are_those_of_the_rules(
    name: str, tmp_path: Path, monkeypatch: Monkey
) -> None:
    world = World(tmp_path)
    run = await world.run(name, TARGETS[name](world, monkeypatch))
    assert run.recorder.failure is None, run.recorder.failure
    assert statuses(run) == dict.fromkeys(STEPS[name], "done")


async def test_a_host_that_is_only_looked_at_is_not_talked_to(
    tmp_path: Path, monkeypatch: Monkey
) -> None:
    world = World(tmp_path)
    run = await world.run("ssh", ssh_target(world, monkeypatch, read_only=True))
    assert statuses(run) == {**dict.fromkeys(STEPS["ssh"], "done"), "scenario": "skipped"}
    assert list(statuses(run)) == list(STEPS["ssh"])
    assert "scenario" not in world.done
    assert "logged out" not in world.done
    assert "asked for secrets" not in world.done, "no agent was started"
    assert revealed(run) == {"of the host"}


ENDS = {
    "local": [
        *("asked for secrets", "services stopped", "ports let go"),
        *("secrets closed", "directory removed"),
    ],
    "incus": [
        *("asked for secrets", "observer closed", "forwards left", "run's secrets closed"),
        *("guest destroyed", "image left", "looked for the guest"),
        *("secrets closed", "directory removed"),
    ],
    "ssh": [
        *("outsider left", "asked for secrets", "logged out", "forwards left", "observer closed"),
        *("connection closed", "secrets closed", "directory removed"),
    ],
}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("fails", [None, "scenario", "asked for secrets", "secrets closed"])
async def test_whatever_fails_all_is_ended_in_reverse(
    name: str, fails: str | None, tmp_path: Path, monkeypatch: Monkey
) -> None:
    world = World(tmp_path, fails)
    run = await world.run(name, TARGETS[name](world, monkeypatch))
    assert world.done[-len(ENDS[name]) :] == ENDS[name]
    failure = run.recorder.failure
    assert (failure.message if failure else None) == (f"{fails} failed" if fails else None)
    if failure is not None:
        assert failure.step == ("scenario" if fails == "scenario" else "teardown")
    own = {"local": "of the instance", "incus": "of the run", "ssh": "of the host"}[name]
    tokens = set() if fails == "asked for secrets" else {"a token"}
    assert revealed(run) == {own, "of the agency", *tokens}


async def test_what_was_made_before_a_step_failed_is_ended(
    tmp_path: Path, monkeypatch: Monkey
) -> None:
    world = World(tmp_path, "booted")
    run = await world.run("incus", incus_target(world, monkeypatch))
    assert statuses(run) == {
        **dict.fromkeys(STEPS["incus"], "skipped"),
        "image": "done",
        "create": "failed",
        "teardown": "done",
    }
    assert list(statuses(run)) == list(STEPS["incus"])
    assert world.done[2:] == ["guest destroyed", *ENDS["incus"][-4:]]


async def test_a_guest_is_kept_where_that_was_asked_for(
    tmp_path: Path, monkeypatch: Monkey
) -> None:
    world = World(tmp_path)
    seen: list[bool] = []

    async def gone(*_: object, kept: bool) -> dict[str, Any]:
        seen.append(kept)
        return {}

    target = incus_target(world, monkeypatch, keep=True)
    monkeypatch.setattr(incus.evidence, "gone", gone)
    await world.run("incus", target)
    assert seen == [True]
    assert "guest kept" in world.done
    assert "guest destroyed" not in world.done


@pytest.mark.parametrize("listens", [True, False])
async def test_ports_of_the_run_must_be_closed(
    listens: bool, tmp_path: Path, monkeypatch: Monkey
) -> None:
    world = World(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if not listens:
            listening.close()
        target = incus_target(world, monkeypatch)
        urls = (f"http://127.0.0.1:{port}", "http://127.0.0.1:2")
        monkeypatch.setattr(incus, "reached", lambda _: world.context("forwards", urls))
        run = await world.run("incus", target)
    (clean,) = [probe for probe in run.recorder.probes if probe.name == "teardown.clean"]
    assert clean.evidence["socketsLeft"] == int(listens)
    assert clean.status == ("failed" if listens else "passed")


@pytest.mark.parametrize(
    ("given", "approvers"),
    [((), ()), (("@bob:agency.example",), ("@bob:agency.example",)), (("@eve:x",), ())],
    ids=["nobody", "a colleague", "somebody else"],
)
def test_on_a_host_only_people_whose_password_was_given_approve(
    given: tuple[str, ...], approvers: tuple[str, ...]
) -> None:
    """Nobody is added to a host: where none may approve, nothing that takes one is asked."""
    people = {"operators": ["@alice:agency.example", "@bob:agency.example"]}
    setting: Any = SimpleNamespace(
        loaded=SimpleNamespace(instance=INSTANCE.model_copy(update=people))
    )
    accounts = dict.fromkeys((*given, "@alice:agency.example"), SecretValue("a password"))
    target = ssh.SshTarget(setting, MagicMock(), MagicMock(), MagicMock(), accounts)
    assert target._approvers() == approvers
