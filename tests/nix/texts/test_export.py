"""What parts of the export run, and what a full machine does: the same, but for what is documented.

The differences are those of the tables in docs/guests.md; any other fails here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PARTS = ROOT / "modules/portable/parts"
EXPORTED = PARTS / "edge/instance/usr/lib/agency/nixos/nginx.conf"
ALERTS = PARTS / "alerts/machine/usr/lib/agency/nixos"
DOMAIN = "agency.example.org"
STORE = re.compile(r"/nix/store/[a-z0-9]{32}-")

# A directive: its words, and those in its block; None where it has no block.
Directive = tuple[tuple[str, ...], "Block | None"]
Block = list[Directive]


def parse(text: str) -> Block:
    """Read a configuration of nginx. No quoted word of ours has a brace or semicolon."""
    text = re.sub(r"(?m)^\s*#.*$", "", text)
    stack: list[Block] = [[]]
    for words, end in re.findall(r"([^;{}]*)([;{}])", text):
        if end == "{":
            block: Block = []
            stack[-1].append((tuple(words.split()), block))
            stack.append(block)
        elif end == ";":
            stack[-1].append((tuple(words.split()), None))
        else:
            stack.pop()
    assert len(stack) == 1
    return stack[0]


def same(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words without what reads otherwise by the version of nginx and the places of its files."""
    if words[0] == "listen":
        return tuple(word for word in words if word != "http2")
    if words[0] in ("include", "alias"):
        return (words[0], Path(STORE.sub("/", words[1])).name)
    return tuple(word.replace("X25519MLKEM768:", "") for word in words)


def alike(block: Block) -> Block:
    """A block without what differs as documented."""
    return [
        (same(words), None if inner is None else alike(inner))
        for words, inner in block
        if words not in (("http2", "on"), ("http2", "off"))
        and words[0] not in ("load_module", "root", "user")
        and not words[0].endswith("_temp_path")
    ]


def inner(block: Block, name: str) -> Block:
    (found,) = (inside for words, inside in block if words == (name,))
    assert found is not None
    return found


def sites(http: Block) -> dict[str, Block]:
    """The servers of a configuration by their names."""
    servers = [inside for words, inside in http if words == ("server",) and inside is not None]
    named = {}
    for server in servers:
        (name,) = (words[1] for words, _ in server if words[0] == "server_name")
        named[name] = server
    assert len(named) == len(servers)
    return named


def test_the_exported_edge_is_that_of_a_machine(texts: dict[str, Any]) -> None:
    exported = alike(parse(EXPORTED.read_text().replace("{{ instance.domain }}", DOMAIN)))
    machine = alike(parse(texts["nginx"]))

    ours, theirs = sites(inner(exported, "http")), sites(inner(machine, "http"))
    assert set(ours) == {"_", DOMAIN, f"matrix.{DOMAIN}", f"element.{DOMAIN}"}
    # A machine may offer the control plane's HTTP interface, at the homeserver's name.
    matrix = theirs[f"matrix.{DOMAIN}"]
    (api,) = (one for one in matrix if one[0] == ("location", "/api/v1/"))
    matrix.remove(api)
    for name, server in ours.items():
        assert server == theirs[name], name

    def general(block: Block) -> Block:
        return [one for one in block if one[0] != ("server",)]

    assert general(inner(exported, "http")) == general(inner(machine, "http"))
    assert [one for one in exported if one[0] not in (("http",), ("stream",))] == [
        one for one in machine if one[0] not in (("http",), ("stream",))
    ]
    # A machine passes further names on, to Traefik; all else of the split is the same.
    split, more = inner(exported, "stream"), inner(machine, "stream")
    assert [words for words, _ in split] == [words for words, _ in more]
    for (words, block), (_, longer) in zip(split, more, strict=True):
        if words[0] == "map":
            assert [one for one in block or () if one not in (longer or [])] == []
        else:
            assert block == longer


def test_another_text_would_be_noticed(texts: dict[str, Any]) -> None:
    """The control: what the comparison leaves out is no more than what is documented."""
    machine = texts["nginx"]
    for before, after in (
        ("proxy_set_header X-Real-IP $remote_addr;", "proxy_set_header X-Real-IP $http_x;"),
        ("ssl_protocols TLSv1.2 TLSv1.3", "ssl_protocols TLSv1.1 TLSv1.2 TLSv1.3"),
        ("ssl_reject_handshake on", "ssl_reject_handshake off"),
        ("max-age=63072000", "max-age=6307200"),
    ):
        assert before in machine
        assert alike(parse(machine.replace(before, after))) != alike(parse(machine))


def test_the_exported_alerts_are_those_of_a_machine(texts: dict[str, Any]) -> None:
    exported = json.loads((ALERTS / "prometheus.yml").read_text())
    machine = texts["prometheus"]
    assert exported["global"] == {"scrape_interval": "2s", "evaluation_interval": "2s"}
    assert exported["alerting"] == machine["alerting"]
    jobs = {one["job_name"]: one for one in machine["scrape_configs"]}
    ours = {one["job_name"]: one for one in exported["scrape_configs"]}
    assert {"node", "control", "alertmanager", "probe-http"} <= set(ours) < set(jobs)
    for name, job in ours.items():
        targets, theirs = job.pop("static_configs"), jobs[name].pop("static_configs")
        assert [one for one in targets if one not in theirs] == [], name
        assert job == jobs[name], name
    rules = [Path(name).name for name in exported["rule_files"]]
    assert rules[:-1] == texts["ruleFiles"]
    assert (ALERTS / "alerts.yml").read_text() == (
        ROOT / "modules/observability/alerts.yml"
    ).read_text()
    manager = json.loads((ALERTS / "alertmanager.yml").read_text())
    kept = json.loads((ROOT / "tests/support/alertmanager.json").read_text())
    assert manager["receivers"] == kept["receivers"][:1], "the second way leads out of a guest"
    assert (
        manager["route"] | {"group_wait": "30s", "routes": kept["route"]["routes"]} == kept["route"]
    )
