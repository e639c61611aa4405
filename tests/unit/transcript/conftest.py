"""A transcript that passes, to be broken in one place at a time."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterable
from pathlib import Path as FilePath
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agency.transcript.rules.v1.services import ALWAYS_RUNNING
from agency.transcript.rules.v2 import added, judge
from agency.transcript.rules.v2.model import Statement
from agency.transcript.rules.v2.subjects import system_digest
from agency.transcript.rules.v2.suite import CLAIMS, READ_ONLY
from agency.transcript.signing import public_pem

Document = dict[str, Any]

DOMAIN = "agency.example"
OPERATOR = f"@alice:{DOMAIN}"
VISITOR = f"@visitor:{DOMAIN}"
APPROVER = f"@approver:{DOMAIN}"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def _command(number: int, said: str, *, ok: bool = True, reply: str = "done") -> Document:
    return {
        "said": said,
        "eventId": f"$command{number}",
        "replyId": f"$reply{number}",
        "ok": ok,
        "expectedOk": ok,
        "matched": True,
        "trace": f"tr-{number}",
        "reply": reply,
    }


COMMANDS = [
    _command(1, "!agency ping", reply="pong"),
    _command(2, '!start-agent pm --project="new-app"'),
    _command(3, "!agency agents status pm", reply="pm: running, project new-app"),
    _command(4, "!start-agentx pm", ok=False, reply="unknown command"),
    _command(5, "!agency agents stop pm"),
]

HERE = FilePath(__file__).parent
EVIDENCE: dict[str, Document] = json.loads((HERE / "evidence.json").read_text())
# As a spin-up gave it: an approval, a secret and a respawn, with the events of their messages.
CONTROL: dict[str, Document] = json.loads((HERE / "control_evidence.json").read_text())
EVIDENCE |= CONTROL


def _trial(event: str, said: str, *, ok: bool = True) -> Document:
    """A command of the trial of control; its events are those of the evidence."""
    told = _command(0, said, ok=ok)
    return told | {"eventId": f"${event}", "replyId": f"${event}-reply", "trace": f"tr-{event}"}


_APPROVE = f"!agency approvals approve {CONTROL['approval.granted']['asked']['id']}"
COMMANDS += [
    _trial("set", "!agency secrets set deploy-token"),
    _trial("bind", "!agency secrets bind deploy-token developer"),
    _trial("own", _APPROVE, ok=False),
    _trial("gated", "!agency secrets delete deploy-token"),
]
GRANT = _trial("grant", f"{_APPROVE} {CONTROL['secret.delivered']['mark']}")
EVIDENCE["scenario.commands"]["commands"] = COMMANDS


def shown(claims: Iterable[str]) -> list[Document]:
    """A suite of one test a claim, all passed. A test's name means nothing to the rules."""
    return [
        {"claim": claim, "case": None, "name": f"test {n}", "outcome": "passed", "message": None}
        for n, claim in enumerate(claims)
    ]


# As a guest gave it, with as little as may be there.
GUEST: dict[str, Document] = json.loads((HERE / "guest_evidence.json").read_text())
GUEST["suite.results"]["tests"] = shown(CLAIMS)

# As a guest gave it whose run had the parts of a profile.
PARTS: dict[str, Document] = json.loads((HERE / "parts_evidence.json").read_text())

# Of an instance with nothing but the homeserver and the control plane.
SERVICES: Document = {
    "instance": {"name": "example", "domain": DOMAIN},
    "rendered": "d4" * 32,
    "services": [
        {
            "service": "matrix",
            "unit": "matrix-synapse.service",
            "load": "loaded",
            "active": "active",
            "here": True,
            "why": "",
        }
    ],
    "pages": [],
}
GUEST["shop.services"] = SERVICES

# As a host over SSH gave it.
HOST: dict[str, Document] = {
    "host.system": {
        "os": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "6.1.0-28-amd64",
        "system": {"kind": "debian", "packages": 261, "digest": "7c" * 32},
        "instance": {
            "name": "example",
            "domain": DOMAIN,
            "operators": [OPERATOR],
            "agents": [
                {"name": name, "matrixId": f"@agent-{name}:{DOMAIN}"}
                for name in ("developer", "pm")
            ],
        },
        "program": {"version": "0.1.0", "files": 480, "digest": "8d" * 32},
    },
    "suite.host": {
        "readOnly": True,
        "tests": shown(READ_ONLY),
    },
    "shop.services": SERVICES,
}

# As a host that runs everything would give it: no test host has all of these programs.
SHOP: dict[str, Document] = json.loads((HERE / "shop_evidence.json").read_text())

STEPS = (
    "quarantine",
    "install",
    "homeserver",
    "accounts",
    "control",
    "probe",
    "scenario",
    "records",
    "teardown",
)
AT = "2026-07-01T12:00:00.000Z"
EVENTS = ("eventId", "replyId")


def _exchange(name: str, by: str, observed: Document) -> Document:
    return {
        "name": name,
        "said": observed["said"],
        "by": by,
        "expected": f"ok={observed['ok']}",
        "observed": observed,
        "passed": True,
    }


def _refusal(refused: Document) -> Document:
    said = _command(0, "!agency agents stop pm", ok=False, reply="you may not")
    return _exchange("refused", VISITOR, {**said, **{key: refused[key] for key in EVENTS}})


def _replay(replay: Document) -> Document:
    return {
        "name": "replay",
        "said": "transaction say-1 with the event of the restart, twice",
        "by": "homeserver",
        "expected": "acknowledged, and nothing runs again",
        "observed": {**replay, "transaction": "say-1", "pingTrace": "tr-6"},
        "passed": True,
    }


def build() -> Document:
    """A Statement that passes, as JSON data that a test may change."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": "source",
                "digest": {"sha256": "a1" * 32, "gitCommit": "b2" * 20, "gitTree": "c3" * 20},
            },
            {"name": "instance", "digest": {"sha256": "d4" * 32}},
        ],
        "predicateType": "urn:agency:spinup-transcript:v2",
        "predicate": {
            "run": "run-0000000000000000",
            "target": "local",
            "startedAt": AT,
            "finishedAt": "2026-07-01T12:00:09.500Z",
            "environment": {
                "os": "Debian GNU/Linux 12 (bookworm)",
                "kernel": "6.1.0",
                "machine": "x86_64",
                "python": "3.11.7",
                "cpus": 2,
                "memoryMb": 4096,
                "user": "root",
            },
            "steps": [
                {"name": name, "startedAt": AT, "durationS": 0.25, "status": "done"}
                for name in STEPS
            ],
            "probes": [
                {
                    "name": name,
                    "mandatory": name != "quarantine.outbound",
                    "mode": "observed",
                    "status": "passed",
                    "at": AT,
                    "durationS": 0.012,
                    "evidence": evidence,
                }
                for name, evidence in EVIDENCE.items()
            ],
            "scenario": [
                *(_exchange("command", OPERATOR, command) for command in COMMANDS),
                _exchange("approval", APPROVER, GRANT),
                _refusal(EVIDENCE["scenario.refused"]),
                _replay(EVIDENCE["scenario.replay"]),
            ],
            "versions": {"agency": "0.1.0", "synapse": "1.163.2"},
            "quarantine": {
                "mode": "network-namespace",
                "interfaces": ["lo"],
                "attempts": EVIDENCE["quarantine.outbound"]["attempts"],
                "met": True,
                "reason": "only loopback, and every outbound attempt failed",
            },
            "gates": [
                {"name": "hermetic", "met": True, "reason": "as seen"},
                {"name": "control", "met": True, "reason": "as seen"},
                {"name": "shop", "met": False, "reason": "the probe shop.services is missing"},
            ],
            "audit": {"count": 14, "head": "5e" * 32},
            "failure": None,
            "result": "PASSED",
        },
    }
    copied: Document = json.loads(json.dumps(statement))  # shares no part with anything
    return copied


def _by_systemd(probes: list[Document]) -> None:
    """What a machine says of agents' units beside what agents say of themselves."""
    seen = {probe["name"]: probe["evidence"] for probe in probes}
    for agent in seen["agents.health"]["agents"]:
        name = f"agency-agent@{agent['name']}.service"
        agent["unit"] = {"name": name, "active": "active", "pid": agent["pid"], "processes": 1}
    if "agent.respawned" in seen:
        seen["agent.respawned"]["killed"]["signal"] = "SIGTERM"
    for agent in seen["agents.stopped"]["agents"]:
        name = f"agency-agent@{agent['name']}.service"
        agent["unit"] = {"name": name, "active": "inactive", "pid": 0, "processes": 0}


def build_guest() -> Document:
    """A Statement of a spin-up in a guest that passes."""
    document = build()
    predicate = document["predicate"]
    predicate["target"] = "incus"
    for probe in predicate["probes"]:
        probe["mandatory"] = True
    predicate["steps"] = [
        {"name": name, "startedAt": AT, "durationS": 0.25, "status": "done"}
        for name in judge.STEPS["incus"]
    ]
    frame = predicate["probes"][0]
    evidence = json.loads(json.dumps(GUEST))
    predicate["probes"] += [
        {**frame, "name": name, "evidence": seen} for name, seen in evidence.items()
    ]
    predicate["gates"][-1].update(met=True, reason="as seen")
    _by_systemd(predicate["probes"])
    outbound = predicate["probes"][0]["evidence"]
    outbound["mode"] = predicate["quarantine"]["mode"] = "guest"
    image, files = GUEST["guest.image"]["fingerprint"], GUEST["activation.first"]["digests"]
    document["subject"].append(
        {"name": "system", "digest": {"sha256": system_digest(image, files)}}
    )
    return document


def build_profile() -> Document:
    """A Statement of a spin-up in a guest, with every part, that passes."""
    document = build_guest()
    predicate = document["predicate"]
    predicate["profile"] = [*added.PARTS]
    frame = predicate["probes"][0]
    predicate["probes"] += [
        {**frame, "name": name, "mandatory": True, "evidence": seen}
        for name, seen in json.loads(json.dumps(PARTS)).items()
    ]
    return document


def build_host(*, talked_to: bool = False) -> Document:
    """A Statement of a host that passes; it was only looked at unless it was talked to."""
    document = build()
    predicate = document["predicate"]
    predicate["target"] = "ssh"
    predicate["steps"] = [
        {"name": name, "startedAt": AT, "durationS": 0.25, "status": "done"}
        for name in judge.STEPS["ssh"]
    ]
    frame = predicate["probes"][0]
    running = {"load": "loaded", "active": "active", "sub": "running", "restarts": 0}
    units = [{"name": name, **running} for name in ALWAYS_RUNNING]
    others = {"units.state": {"units": units}, "secrets.left": GUEST["secrets.left"]}
    evidence = json.loads(json.dumps({**HOST, **others}))
    predicate["probes"] += [
        {**frame, "name": name, "evidence": seen} for name, seen in evidence.items()
    ]
    for probe in predicate["probes"]:
        probe["mandatory"] = judge.PROBES[probe["name"]].mandatory_for("ssh")
    outbound = predicate["probes"][0]["evidence"]
    outbound["mode"] = predicate["quarantine"]["mode"] = "guest"
    predicate["gates"][-1].update(met=True, reason="as seen")
    _by_systemd(predicate["probes"])
    if talked_to:
        (suite,) = (p["evidence"] for p in predicate["probes"] if p["name"] == "suite.host")
        suite.update(readOnly=False, tests=json.loads(json.dumps(GUEST["suite.results"]["tests"])))
    else:
        predicate["steps"][judge.STEPS["ssh"].index("scenario")]["status"] = "skipped"
        predicate["scenario"] = []
        conversation = {*judge.WHEN_TALKED_TO, *CONTROL}
        predicate["probes"] = [
            probe for probe in predicate["probes"] if probe["name"] not in conversation
        ]
        predicate["gates"][1].update(met=False, reason="the probe approval.granted is missing")
    return document


def build_shop() -> Document:
    """A Statement of a host that was looked at, and runs every service that there is."""
    document = build_host()
    predicate = document["predicate"]
    kept = [probe for probe in predicate["probes"] if probe["name"] != "shop.services"]
    evidence = json.loads(json.dumps(SHOP))
    predicate["probes"] = kept + [
        {
            **kept[0],
            "name": name,
            "mandatory": judge.PROBES[name].mandatory_for("ssh"),
            "evidence": seen,
        }
        for name, seen in evidence.items()
    ]
    return document


def build_failed() -> Document:
    """A Statement of a spin-up whose homeserver did not start."""
    document = build()
    predicate = document["predicate"]
    predicate["steps"] = predicate["steps"][:3]
    predicate["steps"][2] |= {
        "status": "failed",
        "error": "port taken",
        "logTail": ["bind: in use"],
    }
    predicate["probes"] = [p for p in predicate["probes"] if p["name"].startswith("quarantine")]
    predicate["scenario"] = []
    predicate["gates"][1].update(met=False, reason="the probe approval.granted is missing")
    predicate["audit"] = None
    predicate["failure"] = {"step": "homeserver", "message": "port taken", "logTail": ["in use"]}
    predicate["result"] = "FAILED"
    return document


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, written from its specification."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def canonical(document: object) -> bytes:
    """The canonical form, written here a second time."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def seal_bytes(payload: bytes, key: Ed25519PrivateKey, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """An envelope around any bytes, with a good signature of `key`."""
    signature = key.sign(pae(payload_type, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }
    return canonical(envelope) + b"\n"


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="session")
def pem(key: Ed25519PrivateKey) -> bytes:
    return public_pem(key)


@pytest.fixture
def document(request: pytest.FixtureRequest) -> Document:
    """A transcript that passes; of a guest or a host where the test is about a probe of theirs."""
    probe = request.getfixturevalue("probe") if "probe" in request.fixturenames else None
    if probe in SHOP:
        return build_shop()
    if probe in HOST:
        return build_host()
    if probe in PARTS:
        return build_profile()
    return build_guest() if probe in GUEST else build()


@pytest.fixture
def guest_document() -> Document:
    return build_guest()


@pytest.fixture
def profile_document() -> Document:
    return build_profile()


@pytest.fixture
def host_document() -> Document:
    return build_host()


@pytest.fixture
def shop_document() -> Document:
    return build_shop()


@pytest.fixture
def gate(probe: str) -> str | None:
    """The gate that alone asks for a probe; None for one that every transcript must have."""
    if probe == "quarantine.outbound":
        return "hermetic"
    return "shop" if probe in SHOP and probe != "shop.services" else None


@pytest.fixture
def talked_document() -> Document:
    return build_host(talked_to=True)


@pytest.fixture
def failed_document() -> Document:
    return build_failed()


@pytest.fixture(scope="session")
def statement() -> Statement:
    return Statement.model_validate(build())


@pytest.fixture
def evidence() -> dict[str, Document]:
    return copy.deepcopy(ALL)


@pytest.fixture(scope="session")
def seal(key: Ed25519PrivateKey) -> Callable[[object], bytes]:
    """Sign any JSON document, true or not, without the model's help."""
    return lambda document: seal_bytes(canonical(document), key)


@pytest.fixture(scope="session")
def seal_payload(key: Ed25519PrivateKey) -> Callable[..., bytes]:
    """Sign any bytes."""
    return lambda payload, **more: seal_bytes(payload, more.pop("key", key), **more)


@pytest.fixture(scope="session")
def pre_authentication() -> Callable[[str, bytes], bytes]:
    return pae


Path = tuple[str | int, ...]
ALL = {**EVIDENCE, **GUEST, **HOST, **SHOP, **PARTS}

# The kernel's words, and a test's, kept for the reader; test_suite_rules tries what may be null.
NOT_JUDGED = {
    ("quarantine.outbound", "error"),
    ("shop.services", "why"),
    *((suite, field) for suite in ("suite.results", "suite.host") for field in ("message", "case")),
}
ALIKE = ("suite.results", "suite.host")  # of whose tests two stand for all
# What the agency answers, and what processes are called, may read as it likes.
ANY_TEXT = {"reply", "name"}


def members(value: object, path: Path = ()) -> list[Path]:
    """The path of every member of a JSON document, inner ones included; never the root."""
    found: list[Path] = [path] if path else []
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for name, item in items:
        found += members(item, (*path, name))
    return found


def at(value: Any, path: Path) -> Any:
    """The member of a JSON document at a path."""
    for part in path:
        value = value[part]
    return value


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`probe`: every probe; `field`: every judged field of its evidence, as (probe, path).

    `wording` is a field that holds text whose wording matters.
    """
    if "probe" in metafunc.fixturenames:
        metafunc.parametrize("probe", list(ALL))
    fields = [
        (name, path)
        for name in ALL
        for path in members(ALL[name])
        if (name, path[-1]) not in NOT_JUDGED
        if name not in ALIKE or path[1:2] in ((), (0,), (1,))
    ]
    wordings = [
        (name, path)
        for name, path in fields
        if isinstance(at(ALL[name], path), str) and path[-1] not in ANY_TEXT
    ]
    for fixture, found in (("field", fields), ("wording", wordings)):
        if fixture in metafunc.fixturenames:
            ids = [f"{name}:{'.'.join(map(str, path))}" for name, path in found]
            metafunc.parametrize(fixture, found, ids=ids)
