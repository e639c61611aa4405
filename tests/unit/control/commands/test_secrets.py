"""Commands about secrets in the room, over a real store: what is gated, and what is never shown."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest
from desk import ALICE, BOB, BOT, ROOM, Desk
from front import Front
from vaulting import CANARY, Safe, wanted

from agency.control.api.handlers import Handlers
from agency.control.commands import GRAMMAR, Services, parse
from agency.control.commands.registry import build_handlers
from agency.control.entrance.enter import Answer, Asked, Entrance, Refusal, enter, submit
from agency.control.events import IncomingEvent
from agency.control.operations import Operation, OriginKind
from agency.control.policy import People, Policy, critical_secrets
from agency.control.service.targets import AgentTargets
from agency.control.store import outbox
from agency.control.vault.desk import Report, SecretDesk
from agency.control.vault.forms import Forms
from agency.control.vault.values import Waiting
from agency.secrets import SecretValue

LINK = re.compile(r"https://agency\.example/secrets/enter/(\S+)")
TOKEN = "gh" + "p_" + "aB3" * 12


class Agents:
    """Lifecycle, as far as bindings and targets need it."""

    agents: ClassVar[dict[str, Any]] = {}

    def entry(self, name: str) -> str:
        return name


class House:
    """A room with a vault behind it."""

    def __init__(self, front: Front, safe: Safe) -> None:
        self.front, self.safe, self.taken = front, safe, list[str]()
        desk = front.desk
        self.waiting = Waiting(desk.clock, 60.0)
        self.pushed: list[str] = []
        self.problem = ""
        self.start()

    def start(self) -> None:
        """Start the control plane, again."""
        self.front.start()
        desk, operations = self.front.desk, self.front.operations

        async def changed() -> None:
            found = await self.safe.vault().listed()
            names = [each.secret.name for each in found if each.secret.critical]
            operations.stand(critical_secrets(names))

        async def push(agent: str, _trace: str) -> Report:
            self.pushed.append(agent)
            return Report(agent, (("github", 1),), self.problem)

        async def take_away(event: IncomingEvent) -> str:
            self.taken.append(event.event_id)
            return "I deleted the message."

        operations._dispatcher.take_away = take_away
        self.vault = self.safe.vault(changed=changed)
        forms = Forms(
            self.vault,
            "https://agency.example",
            lambda: f"form-{next(self.safe.numbers)}",
            self.safe.speaker(),
        )
        self.desk = SecretDesk(self.vault, forms, self.waiting, push)
        lifecycle: Any = Agents()
        services = Services(
            desk.clock,
            desk.database,
            lifecycle,
            GRAMMAR,
            desk.conditions,
            decisions=lambda: operations.decisions,
            secrets=lambda: self.desk,
        )
        for name, handle in build_handlers(services).items():
            if name.startswith(("secrets", "approvals")):
                desk.handlers[name] = handle

    async def say(self, text: str, by: str = ALICE) -> str:
        return await self.front.say(text, by)

    async def make(self, name: str = "github", **changes: Any) -> None:
        await self.vault.put(wanted(name, **changes), SecretValue(CANARY))

    async def entered(self, text: str, value: str | None, **changes: Any) -> Answer:
        """Give a command at the socket, with a value."""
        import asyncio

        facts = {"id": "one", "actor": "cli:root", **changes}
        asked = Asked(
            OriginKind.CLI,
            facts["id"],
            facts["actor"],
            text,
            self.front.desk.clock.now_ms(),
            None if value is None else SecretValue(value),
        )
        desk = self.front.desk
        entrance = Entrance(self.front.operations, desk.clock, lambda: "t-new", self.waiting)
        call = asyncio.create_task(enter(entrance, asked, lambda _text: None))
        while not call.done():
            await desk.finish(self.front.operations)
            await asyncio.sleep(0.01)
        return await call

    async def approved(self, ask: str) -> str:
        """Ask for what needs an approval, and have Bob approve it; return the newest replies."""
        prompt = await self.say(ask)
        assert "needs an approval" in prompt
        await self.say(f"approve {prompt.split()[1][:9]}", BOB)
        return "\n".join((await self.front.bodies())[-2:])

    async def everything(self) -> str:
        """Everything that the store has, as text."""
        tables = await self.safe.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        return str([await self.safe.rows(f"SELECT * FROM {name}") for (name,) in tables])


@pytest.fixture
def house(desk: Desk, safe: Safe) -> House:
    policy = Policy(People(frozenset({ALICE, BOB}), viewers=frozenset({"@vera:x.org"})))
    return House(Front(desk, policy), safe)


@pytest.fixture
def safe(desk: Desk) -> Safe:
    return Safe(desk.database, desk.clock)


async def test_a_secret_is_made_by_a_link_listed_and_never_shown(house: House) -> None:
    said = await house.say("!agency secrets set github --type=api-key")
    (token,) = LINK.findall(said)
    assert "There are no secrets" in await house.say("!agency secrets list")
    await house.desk.forms.enter(token, CANARY)
    for ask in ("list", "info github"):
        said = await house.say(f"!agency secrets {ask}")
        assert "api-key" in said
        assert CANARY not in said
    assert "is a secret github already" in await house.say("!agency secrets set github")
    assert "is bound to pm" in await house.say("!agency secrets bind github pm")
    assert "already" in await house.say("!agency secrets bind github pm")
    assert "pm" in await house.say("!agency secrets info github")
    assert "is taken from it" in await house.say("!agency secrets unbind github pm")
    assert "was not bound" in await house.say("!agency secrets unbind github pm")
    (token,) = LINK.findall(await house.say("!agency secrets rotate github"))
    await house.desk.forms.enter(token, f"{CANARY}-2")
    assert "version       2" in await house.say("!agency secrets info github")
    assert CANARY not in await house.everything()


async def test_who_only_looks_changes_nothing(house: House) -> None:
    await house.make()
    for ask in ("set x", "rotate github", "delete github", "bind github pm", "push pm"):
        assert "takes the role operator" in await house.say(f"!agency secrets {ask}", "@vera:x.org")
    assert "github" in await house.say("!agency secrets list", "@vera:x.org")


async def test_a_deletion_needs_another_person_who_is_told_what_goes(house: House) -> None:
    await house.make()
    await house.vault.bind("github", "pm", ALICE)
    house.front.desk.targets = AgentTargets(Agents(), {"secret": house.desk.describe})  # type: ignore[arg-type]
    house.start()
    prompt = await house.say("!agency secrets delete github")
    assert "Now github has version 1, for pm." in prompt
    await house.say(f"deny {prompt.split()[1][:9]} not today", BOB)
    said = await house.approved("!agency secrets delete github")
    assert "github is erased" in said
    assert "There are no secrets" in await house.say("!agency secrets list")


@pytest.mark.parametrize("critical", [True, False])
async def test_rotating_a_critical_secret_needs_another_person(
    house: House, critical: bool
) -> None:
    await house.make(critical=critical)
    said = await house.say("!agency secrets rotate github")
    assert bool(LINK.findall(said)) is not critical
    assert ("critical-secrets" in said) is critical
    if critical:
        said = await house.approved("!agency secrets rotate github")
        (token,) = LINK.findall(said)
        await house.desk.forms.enter(token, f"{CANARY}-2")
        assert (await house.vault.info("github")).secret.version == 2


async def test_a_critical_secret_is_not_replaced_by_another_way(house: House) -> None:
    await house.make(critical=True)
    assert "already" in await house.say("!agency secrets set github --critical=no")
    answer = await house.entered("!agency secrets set github", CANARY)
    assert not answer.reply.ok
    assert (await house.vault.info("github")).secret.version == 1


async def test_what_changed_since_it_was_asked_for_makes_an_approval_void(house: House) -> None:
    await house.make()
    prompt = await house.say("!agency secrets delete github")
    await house.vault.bind("github", "pm", ALICE)
    await house.say(f"approve {prompt.split()[1][:9]}", BOB)
    assert "was changed since the approval" in "\n".join((await house.front.bodies())[-2:])
    assert (await house.vault.info("github")).secret.version == 1


async def test_a_value_by_standard_input_is_stored_and_kept_nowhere_else(house: House) -> None:
    answer = await house.entered("!agency secrets set github --type=api-key", CANARY)
    assert answer.reply.text == "github has version 1 now."
    assert answer.said == "!agency secrets set github --type=api-key --critical=no"
    assert CANARY not in await house.everything()
    assert CANARY not in repr(answer)
    await house.vault.bind("github", "pm", ALICE)
    assert [each.reveal() for each in await house.vault.values_of("pm")] == [CANARY]
    assert CANARY not in repr(house.waiting)
    assert not house.waiting._held


async def test_the_same_request_again_stores_nothing_again(house: House) -> None:
    first = await house.entered("!agency secrets set github", CANARY)
    again = await house.entered("!agency secrets set github", CANARY)
    assert again == first
    assert (await house.vault.info("github")).secret.version == 1
    assert not house.waiting._held


@pytest.mark.parametrize("kind", [OriginKind.HTTP, OriginKind.CLI])
async def test_a_link_that_is_asked_for_past_the_room_is_told_and_not_at_rest(
    house: House, kind: OriginKind
) -> None:
    """Who asks gets it, also from another request; the store and the next start have it not."""
    front, clock = house.front, house.front.desk.clock
    said = "!agency secrets set github"
    asked = Asked(kind, f"{ALICE}/k", ALICE, said, clock.now_ms())
    made = await submit(Entrance(front.operations, clock, lambda: "t-past"), asked)
    assert isinstance(made, Operation)
    await front.desk.finish(front.operations)
    told = await shown(house, made)
    found = LINK.search(told)
    assert found is not None, told
    assert (await house.desk.forms.find(found[1])).name == "github"
    assert found[1] not in await house.everything()
    again = await front.operations.ask(parse(said), made.origin, ALICE, "t-past")
    assert found[0] in again.text
    house.front.desk.held.seconds += 601
    assert LINK.search(await shown(house, made)) is None, "a link that has ended is told no more"
    house.start()
    again = await front.operations.ask(parse(said), made.origin, ALICE, "t-past")
    assert again.text == await shown(house, made)
    assert "give the command again" in again.text


async def shown(house: House, operation: Operation) -> str:
    """Return the answer that the HTTP interface shows of an operation."""
    nothing: Any = None
    entrance = Entrance(house.front.operations, house.front.desk.clock, lambda: "t-past")
    reply = (await Handlers(entrance, nothing, {}, nothing).find(operation.id)).reply
    assert reply is not None
    return reply.text


async def test_a_link_that_is_said_in_the_room_is_at_rest_until_it_is_sent(house: House) -> None:
    link = LINK.search(await house.say("!agency secrets set github"))
    assert link is not None
    assert link[1] in await house.everything(), "the message waits for the homeserver"
    (sequence,) = await house.safe.database.read(outbox.pending_sequences)
    await house.safe.database.write(lambda c: outbox.set_sent(c, sequence, "$sent"))
    assert link[1] not in await house.everything()


ROTATE = "!agency secrets rotate github"


@pytest.mark.parametrize(
    ("again", "refusal"),
    [
        (None, None),
        (ROTATE, Refusal.TOO_MANY),
        ("!agency secrets rotate gitlab", Refusal.ID_USED),
    ],
)
async def test_a_request_that_is_sent_again_and_refused_lets_go_of_no_value(
    house: House, again: str | None, refusal: Refusal | None
) -> None:
    """The first waits for an approval, and is sent again under its key."""
    await house.make(critical=True)
    operations, clock = house.front.operations, house.front.desk.clock
    operations.stand(critical_secrets(["github"]))
    entrance = Entrance(operations, clock, lambda: "t-http", house.waiting)

    async def sent(said: str, value: str) -> Any:
        now = clock.now_ms()
        asked = Asked(OriginKind.HTTP, f"{ALICE}/k", ALICE, said, now, SecretValue(value))
        made = await submit(entrance, asked)
        await house.front.desk.finish(operations)
        return made

    made = await sent(ROTATE, "the first value")
    assert house.waiting.holds(made.id)
    if again is not None:
        full = operations.max_outbox
        operations.max_outbox = 0 if refusal is Refusal.TOO_MANY else full
        assert (await sent(again, "another value")).refusal is refusal
        operations.max_outbox = full
    await house.say(f"approve {made.short}", BOB)
    await house.vault.bind("github", "pm", ALICE)
    assert [each.reveal() for each in await house.vault.values_of("pm")] == ["the first value"]
    assert not house.waiting._held


async def test_a_request_that_is_refused_leaves_no_value_behind(house: House) -> None:
    operations, clock = house.front.operations, house.front.desk.clock
    entrance = Entrance(operations, clock, lambda: "t-http", house.waiting)
    operations.max_outbox = 0
    value = SecretValue(CANARY)
    asked = Asked(OriginKind.HTTP, f"{ALICE}/k", ALICE, ROTATE, clock.now_ms(), value)
    for _ in range(2):
        refused = await submit(entrance, asked)
        assert isinstance(refused, Answer)
        assert refused.refusal is Refusal.TOO_MANY
    assert not house.waiting._held


async def test_a_value_that_does_not_fit_is_refused(house: House) -> None:
    answer = await house.entered("!agency secrets set github --type=json", CANARY)
    assert "is not JSON" in answer.reply.text
    assert CANARY not in answer.reply.text
    assert not house.waiting._held


async def test_a_value_for_another_command_is_dropped(house: House) -> None:
    await house.entered("!agency ping", CANARY)
    assert not house.waiting._held
    assert CANARY not in await house.everything()


@pytest.mark.parametrize("by", [ALICE, BOB, "@vera:x.org", "@eve:x.org", "@agent-pm:x.org"])
@pytest.mark.parametrize(
    "text", [f"look: {TOKEN}", f"!agency agents start pm --project={TOKEN}", f"agency: {TOKEN}"]
)
async def test_a_token_in_the_room_is_refused_deleted_and_not_kept(
    house: House, text: str, by: str
) -> None:
    said = await house.say(text, by)
    assert "This message held a GitHub token, so nothing was done" in said
    assert said.endswith("I deleted the message.")
    assert len(house.taken) == 1
    assert house.front.desk.calls == []
    assert TOKEN not in await house.everything()
    assert (await house.front.desk.details())[-1]["code"] == "secret-in-chat"


@pytest.mark.parametrize("changes", [{"room_id": "!other:x.org"}, {"sender": BOT}])
async def test_a_token_elsewhere_or_of_our_own_is_left_alone(
    house: House, changes: dict[str, Any]
) -> None:
    desk = house.front.desk
    await desk.take(desk.event(TOKEN, **changes))
    await desk.finish(house.front.operations)
    assert (house.taken, await house.front.bodies()) == ([], [])
    assert TOKEN not in await house.everything()
    assert ROOM


async def test_a_token_in_a_command_of_the_socket_is_refused(house: House) -> None:
    answer = await house.entered(f"!agency agents start pm --project={TOKEN}", None)
    assert "This text holds a GitHub token" in answer.reply.text
    assert house.front.desk.calls == []
    assert TOKEN not in await house.everything()


async def test_a_push_says_what_is_held_or_why_not(house: House) -> None:
    assert "pm holds github (version 1)." in await house.say("!agency secrets push pm")
    house.problem = "the lease of github has expired"
    said = await house.say("!agency secrets push pm")
    assert "it keeps those that it held" in said
    assert house.pushed == ["pm", "pm"]


async def test_without_a_master_key_the_commands_say_so(desk: Desk) -> None:
    lifecycle: Any = Agents()
    services = Services(desk.clock, desk.database, lifecycle, GRAMMAR, desk.conditions)
    desk.handlers["secrets list"] = build_handlers(services)["secrets list"]
    (reply,) = await desk.say("!agency secrets list")
    assert "no vault" in reply["body"]
    assert reply["org.agency.reply"]["ok"] is False, reply["body"]
