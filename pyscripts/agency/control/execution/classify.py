"""Classification of messages, by whether they may run: one pure function, tested as a table.

Messages of the agency's own users, notices, and messages in other rooms are never answered:
otherwise two programs could answer each other for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from agency import naming
from agency.control.config import ControlConfig
from agency.control.events import EventKind, IncomingEvent
from agency.control.execution.address import speaks_to, without_mention
from agency.control.leaks import EXPOSED, INSTEAD
from agency.control.operation import FUTURE_MS
from agency.control.policy import Deny, Policy

FUTURE_S = FUTURE_MS / 1000
_DECIDING = frozenset({"approvals", "help"})  # nouns that the approvals room takes

HOW_TO = (
    "I read a message as a command if it begins with !agency, with or without my name before it. "
    "Say !agency help for the commands."
)


class Disposition(StrEnum):
    """The treatment of a message."""

    SILENT = "silent"  # not for the agency: not recorded
    IGNORE = "ignore"  # recorded in the audit log, not answered
    REFUSE = "refuse"  # recorded in the audit log, and answered
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A disposition, a stable code for the audit log, and the message to people."""

    disposition: Disposition
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules for messages: the control room, the policy, the agency's users, and the age limit."""

    room_id: str
    policy: Policy
    bot_id: str
    agents: Collection[str]
    domain: str
    max_age_s: float
    looks_like_command: Callable[[str], bool]
    former: frozenset[str] = frozenset()  # rooms that the control room replaced
    approvals_room: str = ""  # where approvals are decided, too; empty if there is none
    asking_rooms: frozenset[str] = frozenset()  # where prompts for calls of agents wait

    @classmethod
    def from_config(
        cls, config: ControlConfig, room_id: str, looks_like_command: Callable[[str], bool]
    ) -> Rules:
        """Make the rules from the control plane's configuration."""
        return cls(
            room_id=room_id,
            policy=config.policy,
            bot_id=config.bot_id,
            agents=frozenset(agent.matrix_id for agent in config.agents),
            domain=config.domain,
            max_age_s=config.limits.max_command_age_s,
            looks_like_command=looks_like_command,
        )

    def command_text(self, event: IncomingEvent) -> str:
        """Return the text that is parsed: that of the message, without a mention of the bot."""
        return without_mention(event.text, self.bot_id)

    def listens_in(self, room_id: str) -> bool:
        """Return whether commands are taken from a room."""
        return room_id in (self.room_id, self.approvals_room)

    def decides_in(self, event: IncomingEvent) -> bool:
        """Return whether a person of the agency decides where a call of an agent is asked about.

        Such a room is a team's: nobody else there is answered, and nothing else is taken from it.
        """
        return event.room_id in self.asking_rooms and event.sender in self.policy.people.everybody

    def refusal_in(self, room_id: str, noun: str) -> str | None:
        """Return why a command of a noun is not taken from a room; None if it is."""
        if room_id == self.room_id or noun in _DECIDING:
            return None
        return (
            "Only approvals are decided here, so nothing was done. Send this command in the "
            f"control room, #{naming.CONTROL_ROOM_LOCALPART}:{self.domain}."
        )

    def is_own(self, sender: str) -> bool:
        """Return whether the sender is the bot or in the agents' namespace."""
        namespace = naming.matrix_id(naming.agent_localpart(""), "").removesuffix(":")
        return (
            sender == self.bot_id
            or sender in self.agents
            or (sender.startswith(namespace) and sender.endswith(f":{self.domain}"))
        )


_SILENT = Verdict(Disposition.SILENT)
LEAK = "secret-in-chat"


def classify(event: IncomingEvent, rules: Rules, now_ms: int) -> Verdict:
    """Classify a message at `now_ms` (milliseconds since the epoch)."""
    listens = rules.listens_in(event.room_id)
    if event.leak:
        return _leaked(event, rules)
    if event.kind is EventKind.ENCRYPTED:
        if rules.is_own(event.sender) or not listens:
            return _SILENT
        return Verdict(
            Disposition.REFUSE,
            "encrypted",
            "This room must not be encrypted: I cannot read this message.",
        )
    if not rules.looks_like_command(rules.command_text(event)):
        return _mentioned(event, rules, now_ms)
    if rules.is_own(event.sender):
        return Verdict(Disposition.IGNORE, "own-message")
    if not listens and not rules.decides_in(event):
        return _elsewhere(event, rules)
    is_caption = event.msgtype == "m.file" and event.answers == event.event_id
    if event.msgtype != "m.text" and not is_caption:
        return Verdict(Disposition.IGNORE, "not-text")
    return _authorise(event, rules, now_ms)


def _leaked(event: IncomingEvent, rules: Rules) -> Verdict:
    """Refuse a message that held a token, whoever sent it and whatever else it said."""
    if event.room_id != rules.room_id or event.sender == rules.bot_id:
        return _SILENT
    text = f"This message held {event.leak}, so nothing was done. {EXPOSED} {INSTEAD}"
    return Verdict(Disposition.REFUSE, LEAK, text)


def _mentioned(event: IncomingEvent, rules: Rules, now_ms: int) -> Verdict:
    """Tell an operator who speaks to the bot otherwise than by a command how to command it."""
    verdict = _authorise(event, rules, now_ms)
    if (
        event.room_id != rules.room_id
        or event.msgtype != "m.text"
        or rules.is_own(event.sender)
        or not speaks_to(event, rules.bot_id)
        or verdict.disposition is not Disposition.RUN
    ):
        return _SILENT
    return Verdict(Disposition.REFUSE, "no-command", HOW_TO)


def _elsewhere(event: IncomingEvent, rules: Rules) -> Verdict:
    operates = not isinstance(rules.policy.decide(event.sender, None, ""), Deny)
    if event.room_id in rules.former and operates and event.msgtype == "m.text":
        return Verdict(
            Disposition.REFUSE,
            "moved",
            f"This room was replaced, so nothing was done. The control room is now {rules.room_id}"
            f" (#{naming.CONTROL_ROOM_LOCALPART}:{rules.domain}): send the command there.",
        )
    return Verdict(Disposition.IGNORE, "other-room")


def _authorise(event: IncomingEvent, rules: Rules, now_ms: int) -> Verdict:
    match rules.policy.decide(event.sender, None, ""):
        case Deny(code=code, message=message):
            return Verdict(Disposition.REFUSE, code, message)
    if event.replaces is not None:
        return Verdict(
            Disposition.REFUSE,
            "edited",
            "Edited messages are not run. Send the command as a new message.",
        )
    age_s = (now_ms - event.origin_ts) / 1000
    if age_s > rules.max_age_s:
        return Verdict(Disposition.REFUSE, "too-old", too_old(age_s, rules.max_age_s))
    if -age_s > FUTURE_S:
        return Verdict(
            Disposition.REFUSE,
            "in-future",
            f"This command is dated {_duration(-age_s)} in the future. "
            "Check the clocks of the homeserver and of this machine.",
        )
    return Verdict(Disposition.RUN)


def too_old(age_s: float, most_s: float) -> str:
    """Make the reply to a command that is too old to run."""
    return (
        f"This command is {_duration(age_s)} old, and the limit is {_duration(most_s)}. "
        "Send it again if it is still wanted."
    )


def _duration(seconds: float) -> str:
    whole = int(seconds)
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if whole >= 2 * size:
            return f"{whole // size} {unit}s"
    return f"{whole} second{'' if whole == 1 else 's'}"
