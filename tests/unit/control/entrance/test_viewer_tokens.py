"""A token of a viewer looks: of all commands, none that it reaches writes anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from desk import ALICE, BOB, Desk
from herd import Farm
from sqlalchemy import select, text
from vaulting import CANARY, Safe, wanted

from agency.clock import Clock
from agency.control.commands import GRAMMAR, Services
from agency.control.commands.registry import build_handlers
from agency.control.conditions import Code
from agency.control.config import ControlConfig
from agency.control.entrance.enter import Answer, Asked, Entrance, Refusal, submit
from agency.control.grammar.spec import CommandSpec
from agency.control.kept.minting import digest_of, new_token
from agency.control.kept.settings import KeptSettings
from agency.control.kept.tokens import TokenDesk
from agency.control.operation import Operation
from agency.control.operations import OriginKind, State
from agency.control.policy import ApprovalRule, People, Policy, Role, reaches
from agency.control.store import operations as stored
from agency.control.store import schema
from agency.control.vault.desk import SecretDesk
from agency.control.vault.forms import Forms
from agency.control.vault.values import Waiting
from agency.secrets import SecretValue
from agency.store import Database

SPECS = GRAMMAR.commands
CONFIG = {
    "instance": "test",
    "domain": "x.org",
    "homeserver_url": "http://127.0.0.1:1",
    "listen_port": 1,
    "bot_id": "@agency:x.org",
    "control_room_alias": "#control:x.org",
    "operators": [ALICE],
    "agents": [],
    "database_url": "sqlite+aiosqlite:////nowhere/control.db",
    "state_dir": "/nowhere",
}
NEVER_DONE = {"backups show", "audit export"}  # asks systemd; says how it is done elsewhere
# What writes without being a change: each has a role of its own, or is marked.
ACTING = {"approvals withdraw", "tokens revoke", "warnings acknowledge"}


class Agency:
    """A control plane with something of everything that a command could touch."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.database = desk, desk.database
        self.values: dict[str, str] = {}
        self.numbers = iter(range(1000))

    async def open(self) -> None:
        desk, clock = self.desk, self.desk.clock
        desk.policy = Policy(
            People(frozenset({ALICE, BOB}), admins=frozenset({ALICE})),
            rules=(ApprovalRule("two", frozenset({"agents start"})),),
        )
        self.farm = Farm(desk)
        await self.farm.open()
        await self.farm.give("pm", "first")
        await self.farm.give("pm", "second")
        safe = Safe(self.database, clock)
        vault = safe.vault()
        await vault.put(wanted(), SecretValue(CANARY))
        forms = Forms(vault, "https://x.org", lambda: "link", safe.speaker())
        secrets = SecretDesk(vault, forms, Waiting(clock, 60.0), None)  # type: ignore[arg-type]
        self.tokens = TokenDesk(self.database, clock, lambda: desk.policy)
        token = new_token()
        await self.tokens.create(digest_of(token), BOB, Role.OPERATOR, 30, "cli:root")
        desk.conditions.note(Code.ALIAS_LOST, "the room has no alias")
        settings = KeptSettings(
            self.database, ControlConfig.model_validate(CONFIG), lambda _rate: None
        )
        operations = self.farm.operations
        services = Services(
            clock,
            self.database,
            self.farm.lifecycle,
            GRAMMAR,
            desk.conditions,
            decisions=lambda: operations.decisions,
            safety=lambda: operations.safety,
            staff=self.farm.staff,
            gosuto=lambda: self.farm.gosuto,
            secrets=lambda: secrets,
            tokens=lambda: self.tokens,
            settings=lambda: settings,
            instance="test",
        )
        desk.handlers.update(build_handlers(services))
        await self.farm.say("!agency agents start pm", by=BOB)
        (waiting,) = operations.decisions.waiting
        self.values = {
            "agent": "pm",
            "approval": waiting.id,
            "arguments": "{}",
            "code": Code.ALIAS_LOST.value,
            "command": "agents stop pm",
            "digest": f"sha256:{'a' * 64}",
            "key": "log-level",
            "operation": waiting.id,
            "person": BOB,
            "reason": "no",
            "secret": "github",
            "template": "cron-agent",
            "token": digest_of(token)[:12],
            "tool": "x.y",
            "trace": waiting.trace,
            "value": "debug",
            "version": "1",
        }

    def said(self, spec: CommandSpec) -> str:
        """Write a command with all the arguments that it must have, about what there is."""
        required = [each for each in spec.parameters if each.required]
        if spec.name == "gosuto validate":  # by its arguments it may take one of several
            return "!agency gosuto validate pm limits.eventsPerMinute=3"
        words = [
            f"'{self.values[each.name]}'"
            if each.positional
            else f"--{each.name}='{self.values[each.name]}'"
            for each in required
        ]
        return " ".join(["!agency", spec.name, *words])

    async def give(self, said: str, role: Role) -> Operation | Answer:
        """Give a command by a token of the admin, and let it end."""
        desk, operations = self.desk, self.farm.operations
        front = Entrance(operations, desk.clock, lambda: f"t-http-{next(self.numbers)}")
        key = f"{ALICE}/k{next(self.numbers)}"
        asked = Asked(OriginKind.HTTP, key, ALICE, said, desk.clock.now_ms(), role=role)
        made = await submit(front, asked)
        await desk.finish(operations)
        if isinstance(made, Answer):
            return made
        found = await self.database.read(lambda c: stored.recorded(c, made.id))
        assert found is not None
        return found[0]

    async def all(self) -> Mapping[str, Any]:
        """Everything that is kept, but the looks themselves, and that they were on record."""

        def look(connection: Any) -> dict[str, Any]:
            tables = {
                each.name: [tuple(row) for row in connection.execute(select(each))]
                for each in schema.metadata.sorted_tables
                if each.name not in ("audit", "operations")
            }
            tables["meta"] = [row for row in tables["meta"] if not row[0].startswith("audit")]
            mine = text("SELECT * FROM operations WHERE origin_kind <> 'http'")
            tables["operations"] = [tuple(row) for row in connection.execute(mine)]
            return tables

        return {
            **await self.database.read(look),
            "conditions": self.desk.conditions.present(),
            "tokens": self.tokens.every(),
            "calls": list(self.farm.herd.calls),
            "left": list(self.farm.left),
            "waiting": self.farm.operations.decisions.waiting,
            "safe mode": self.farm.operations.safety.present(),
        }


@pytest.fixture
async def agency(desk: Desk, database: Database, clock: Clock) -> Agency:
    assert (desk.database, desk.clock) == (database, clock)
    made = Agency(desk)
    await made.open()
    return made


async def test_of_all_commands_it_reaches_none_that_writes(agency: Agency) -> None:
    before, looked = await agency.all(), set[str]()
    for spec in SPECS:
        ended = await agency.give(agency.said(spec), Role.VIEWER)
        if isinstance(ended, Answer):
            assert ended.refusal is Refusal.TOO_NARROW, (spec.name, ended)
        elif spec.name not in NEVER_DONE:
            looked.add(spec.name)
            why = await agency.database.read(lambda c, key=ended.id: stored.answer(c, key))
            assert ended.state is State.DONE, f"{spec.name} looked at nothing: {why}"
        after = await agency.all()
        changed = [name for name in before if before[name] != after[name]]
        assert changed == [], f"{spec.name} wrote, by a token of a viewer"
    assert looked | NEVER_DONE == {each.name for each in SPECS if reaches(Role.VIEWER, each)}
    assert len(looked) > 20


@pytest.mark.parametrize("name", sorted(ACTING))
async def test_the_same_by_a_token_of_an_admin_writes(agency: Agency, name: str) -> None:
    """What the test above would see: the commands that write without being changes."""
    (spec,) = [each for each in SPECS if each.name == name]
    assert not spec.changes
    before = await agency.all()
    ended = await agency.give(agency.said(spec), Role.ADMIN)
    assert isinstance(ended, Operation), ended
    assert ended.state is State.DONE
    assert await agency.all() != before


@pytest.mark.parametrize("name", ["approvals withdraw", "tokens revoke"])
@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
async def test_what_is_anothers_takes_a_token_that_gives_an_admins_role(
    agency: Agency, name: str, role: Role
) -> None:
    """The person is an admin; a token of theirs that gives less does less."""
    (spec,) = [each for each in SPECS if each.name == name]
    before = await agency.all()
    ended = await agency.give(agency.said(spec), role)
    assert isinstance(ended, Operation), ended
    is_admins = role is Role.ADMIN
    assert ended.state is (State.DONE if is_admins else State.REFUSED)
    assert (await agency.all() != before) is is_admins


async def test_after_a_restart_a_token_gives_no_more_than_before(agency: Agency) -> None:
    """What was taken and not run yet keeps the role that it came with."""
    (spec,) = [each for each in SPECS if each.name == "tokens revoke"]
    desk, waiting = agency.desk, agency.farm.operations
    front = Entrance(waiting, desk.clock, lambda: "t-http")
    said = agency.said(spec)
    asked = Asked(OriginKind.HTTP, "k", ALICE, said, desk.clock.now_ms(), role=Role.OPERATOR)
    made = await submit(front, asked)
    assert isinstance(made, Operation)
    await waiting.close()
    await desk.finish(desk.make_operations())
    found = await agency.database.read(lambda c: stored.recorded(c, made.id))
    assert found is not None
    assert found[0].state is State.REFUSED
    assert [each.revoked_ts for each in agency.tokens.every()] == [None]
