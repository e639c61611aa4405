"""Every field of every probe's evidence matters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from agency.transcript.rules.v1 import guest
from agency.transcript.rules.v1.rule import PLACEHOLDERS
from agency.transcript.rules.v2.judge import PROBES

Evidence = dict[str, dict[str, Any]]
Field = tuple[str, tuple[str | int, ...]]

ONE_OF_EACH_TYPE: tuple[Any, ...] = (None, True, 7, 7.5, "text", [], {})


def change(evidence: Evidence, field: Field, how: Callable[[Any, Any], None]) -> dict[str, Any]:
    """A copy of a probe's evidence after `how(parent, key)` for one field."""
    probe, path = field
    whole = copy.deepcopy(evidence[probe])
    parent: Any = whole
    for part in path[:-1]:
        parent = parent[part]
    how(parent, path[-1])
    return whole


def put(evidence: Evidence, field: Field, value: Any) -> dict[str, Any]:
    return change(evidence, field, lambda parent, key: parent.__setitem__(key, value))


def value_of(evidence: Evidence, field: Field) -> Any:
    value: Any = evidence[field[0]]
    for part in field[1]:
        value = value[part]
    return value


def refused_and_named(evidence: dict[str, Any], field: Field) -> bool:
    """Whether the probe does not hold, for a reason that names the field (or one around it)."""
    verdict = PROBES[field[0]].judge(evidence)
    names = [part for part in field[1] if isinstance(part, str)]
    return not verdict.ok and any(name in verdict.reason for name in names)


def test_the_sample_has_evidence_for_every_rule(evidence: Evidence) -> None:
    assert set(evidence) == set(PROBES)


def test_good_evidence_holds(probe: str, evidence: Evidence) -> None:
    verdict = PROBES[probe].judge(evidence[probe])
    assert verdict.ok
    assert verdict.reason == ""


def test_more_than_is_judged_does_no_harm(probe: str, evidence: Evidence) -> None:
    assert PROBES[probe].judge({**evidence[probe], "seenBeside": [1, None]}).ok


@pytest.mark.parametrize("value", [{}, None, [], "observed", 7, [{"status": 200}]], ids=repr)
def test_what_is_no_evidence_does_not_hold(probe: str, value: Any) -> None:
    verdict = PROBES[probe].judge(value)
    assert not verdict.ok
    assert verdict.reason


def test_a_value_of_another_type_is_refused(field: Field, evidence: Evidence) -> None:
    good = value_of(evidence, field)
    number = type(good) is float  # a whole number is one too
    wrong = [
        value
        for value in ONE_OF_EACH_TYPE
        if type(value) is not type(good) and not (number and type(value) is int)
    ]
    assert len(wrong) >= len(ONE_OF_EACH_TYPE) - 2
    accepted = [v for v in wrong if not refused_and_named(put(evidence, field, v), field)]
    assert accepted == []


def test_a_placeholder_is_not_something_seen(wording: Field, evidence: Evidence) -> None:
    good = value_of(evidence, wording)
    words = {*PLACEHOLDERS, "", "Configured", " simulated ", "simulated\n"} - {good}
    accepted = [w for w in words if not refused_and_named(put(evidence, wording, w), wording)]
    assert accepted == []


def test_a_missing_field_is_refused(field: Field, evidence: Evidence) -> None:
    if isinstance(field[1][-1], int):  # an entry of a list: the list without any
        field = (field[0], field[1][:-1])
        without = put(evidence, field, [])
    else:
        without = change(evidence, field, lambda parent, key: parent.pop(key))
    assert refused_and_named(without, field)


def test_a_string_of_control_characters_or_too_long_is_refused(evidence: Evidence) -> None:
    field = ("homeserver.versions", ("serverVersion",))
    for text in ("1.163.2\n", "1.163.2\x1b[2J", "1." + "0" * 5000, "\u202e1.2.3"):
        assert refused_and_named(put(evidence, field, text), field)


# Values of the right type that a broken or lying system would show.
WRONG: tuple[tuple[str, str, Any], ...] = (
    ("homeserver.versions", "status", 500),
    ("homeserver.versions", "status", 201),
    ("homeserver.versions", "url", "file:///etc/passwd"),
    ("homeserver.versions", "url", "127.0.0.1:8008"),
    ("homeserver.versions", "serverVersion", "latest"),
    ("homeserver.process", "pid", 1),
    ("homeserver.process", "pid", 0),
    ("homeserver.process", "pid", -4711),
    ("homeserver.process", "alive", False),
    ("homeserver.process", "executable", "python3"),
    ("control.ready", "status", 503),
    ("control.ready", "ready", False),
    ("control.ready", "version", "main"),
    ("control.ready", "pythonVersion", "python"),
    ("control.ready", "schemaRevision", "head; drop"),
    ("control.refuses-wrong-token", "attempts.0.token", "right"),
    ("control.refuses-wrong-token", "attempts.0.token", "query"),
    ("control.refuses-wrong-token", "attempts.2.status", 200),
    ("control.refuses-wrong-token", "attempts.1.status", 401),
    ("control.refuses-wrong-token", "attempts.0.errcode", "M_UNKNOWN"),
    ("control.refuses-wrong-token", "accepted.status", 403),
    ("control.refuses-wrong-token", "accepted.token", "wrong"),
    ("control.room", "roomId", "#control:agency.example"),
    ("control.room", "alias", "!room:agency.example"),
    ("control.room", "alias", "#control:elsewhere.example"),
    ("control.room", "joined", ["@alice:agency.example", "@agent-pm:agency.example"]),
    ("control.room", "joined", ["@alice:agency.example", "@agency:agency.example"]),
    ("control.room", "joined.3", "alice"),
    ("control.room", "encrypted", True),
    ("control.room", "joinRule", "public"),
    ("agents.health", "agents.0.name", "PM"),
    ("agents.health", "agents.0.name", "developer"),
    ("agents.health", "agents.0.status", 503),
    ("agents.health", "agents.0.body.status", "starting"),
    ("agents.health", "agents.0.body.agent", "developer"),
    ("agents.health", "agents.0.pid", 1),
    ("agents.health", "agents.0.pid", 4719),
    ("agents.health", "agents.1.unauthorised", 200),
    ("agents.stopped", "agents.0.processGone", False),
    ("agents.stopped", "agents.1.portClosed", False),
    ("scenario.refused", "sender", "visitor"),
    ("scenario.refused", "ok", True),
    ("scenario.refused", "executed", True),
    ("scenario.refused", "auditOutcome", "done"),
    ("scenario.refused", "auditOutcome", "accepted"),
    ("scenario.refused", "replyId", "$intruder"),
    ("scenario.refused", "eventId", "intruder"),
    ("scenario.replay", "transactionStatuses", [200]),
    ("scenario.replay", "transactionStatuses.1", 500),
    ("scenario.replay", "repliesAfter", 2),
    ("scenario.replay", "repliesBefore", 2),
    ("scenario.replay", "auditCountAfter", 12),
    ("scenario.replay", "auditCountBefore", 10),
    ("scenario.replay", "pidAfter", 4799),
    ("scenario.replay", "pidBefore", 4799),
    ("store.schema", "integrity", "row 3 missing from index"),
    ("store.schema", "journalMode", "delete"),
    ("audit.chain", "count", 0),
    ("audit.chain", "head", "5E" * 32),
    ("audit.chain", "head", "5e" * 31),
    ("audit.chain", "verified", False),
    ("secrets.absent", "secretsChecked", 0),
    ("secrets.absent", "filesSearched", 0),
    ("secrets.absent", "argvSearched", 0),
    ("secrets.absent", "findings", 1),
    ("secrets.absent", "findings", -1),
    ("system.processes", "running.0.pid", 4712),
    ("system.processes", "running.0.rssMb", 0.0),
    ("system.processes", "running.0.rssMb", float("nan")),
    ("teardown.clean", "processesLeft", 1),
    ("teardown.clean", "socketsLeft", 1),
    ("teardown.clean", "filesLeft", 3),
    ("quarantine.outbound", "mode", "none"),
    ("quarantine.outbound", "interfaces", ["eth0", "lo"]),
    ("quarantine.outbound", "interfaces", ["lo", "lo"]),
    ("quarantine.outbound", "attempts", []),
    ("quarantine.outbound", "attempts.0.outcome", "connected"),
    ("quarantine.outbound", "attempts.1.outcome", "sent"),
)


@pytest.mark.parametrize(("name", "dotted", "value"), WRONG, ids=str)
def test_a_wrong_value_is_refused(name: str, dotted: str, value: Any, evidence: Evidence) -> None:
    path = tuple(int(part) if part.isdigit() else part for part in dotted.split("."))
    assert not PROBES[name].judge(put(evidence, (name, path), value)).ok


def test_a_local_spin_up_may_lack_its_quarantine_and_what_only_a_guest_has() -> None:
    mandatory = {name for name, rule in PROBES.items() if rule.mandatory_for("local")}
    assert len(mandatory) == 18
    assert "quarantine.outbound" not in mandatory
    assert mandatory.isdisjoint(rule.name for rule in guest.RULES)


def test_rules_say_what_they_prove(probe: str) -> None:
    assert PROBES[probe].name == probe
    assert PROBES[probe].description.endswith(".")
