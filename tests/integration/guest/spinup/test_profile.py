"""A spin-up with every part of a profile: each is proven in the transcript."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driving import SpinUp

from agency.spinup.targets.incus.parts import known_parts
from agency.transcript import PARTS

# It takes a Docker, and things that a guest cannot fetch: test_recipes_profile.py has it.
APART = "recipes"
Make = Callable[..., SpinUp]
Change = Callable[[str, Callable[[str], str]], Path]
CERTIFICATE = "pyscripts/agency/spinup/targets/incus/parts/edge/certificate.py"


def evidence(predicate: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [probe["evidence"] for probe in predicate["probes"] if probe["name"] == name]
    seen: dict[str, Any] = found
    return seen


def test_the_whole_profile_passes(spinup: Make, ground: Any) -> None:
    parts = tuple(part for part in known_parts() if part != APART)
    run_up = spinup("--with", ",".join(parts)).start()
    run = run_up.run
    assert run_up.end() == 0, run_up.text
    predicate = run_up.predicate()
    assert (predicate["result"], predicate["profile"]) == ("PASSED", [*parts])
    demanded = [word for p in parts for rule in PARTS[p] for word in ("--require", rule.name)]
    checked = run_up.verify(*demanded)
    assert checked.returncode == 0, checked
    assert f"profile  {', '.join(parts)}" in checked.stdout
    kept = evidence(predicate, "edge.client-address")["conversation"]["kept"]
    assert kept == ["127.83.0.2"], "people talked through the edge alone"
    restored = evidence(predicate, "backup.restored")
    trees = {part["part"] for part in restored["parts"] if part["part"].startswith("tree:")}
    assert {"tree:agents-audit", "tree:issued"} <= trees
    assert restored["continues"] <= evidence(predicate, "reboot.survived")["auditBefore"]["count"]
    told = evidence(predicate, "alerts.delivered")
    assert told["prometheus"]["file"] == "/usr/lib/agency/nixos/alerts.yml", "a rule of hosts"
    worked = evidence(predicate, "agent.worked")
    assert {call["decision"] for call in worked["calls"]} == {"allow", "deny"}
    assert worked["branch"]["files"] == ["calculator.py"]
    memory = evidence(predicate, "system.processes")["machine"]["memoryMb"]
    # With pages of the packages that were unpacked, and the proxy; the default guest has 700.
    assert memory < 1150
    ground.assert_nothing_left(run)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("until = now + VALID", "until = now - VALID", "certificate has expired"),
        (
            "return Certificates(authority.pem,",
            'return Certificates(_issue("root", None, now, until).pem,',
            "certificate signature failure",
        ),
    ],
    ids=["expired", "foreign"],
)
def test_a_bad_certificate_fails_it(
    before: str, after: str, problem: str, spinup: Make, ground: Any, changed_checkout: Change
) -> None:
    checkout = changed_checkout(CERTIFICATE, lambda text: text.replace(before, after))
    run_up = spinup("--with", "edge", checkout=checkout).start()
    run = run_up.run
    assert run_up.end() == 1, run_up.text
    predicate = run_up.predicate()
    assert predicate["result"] == "FAILED"
    assert {site["problem"] for site in evidence(predicate, "edge.tls")["sites"]} == {problem}
    # Nobody came in: people's clients refuse it too.
    assert predicate["failure"]["step"] == "probe"
    checked = run_up.verify()
    assert checked.returncode == 1
    assert "authentic" in checked.stdout
    ground.assert_nothing_left(run)


ALERTS = "modules/portable/parts/alerts"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("file", "before", "after", "missing"),
    [
        ("start.json", '    "alertmanager.service",\n', "", "alertmanager"),
        (
            "machine/etc/systemd/system/alertmanager.service",
            "alertmanager-token:/run/secrets/alertmanager-token",
            "alertmanager-token:/run/secrets/matrix-hs-token",
            "messages",
        ),
    ],
    ids=["alertmanager down", "wrong token"],
)
def test_an_alert_that_does_not_arrive_fails_it(
    file: str,
    before: str,
    after: str,
    missing: str,
    spinup: Make,
    ground: Any,
    changed_checkout: Change,
) -> None:
    checkout = changed_checkout(f"{ALERTS}/{file}", lambda text: text.replace(before, after))
    run_up = spinup("--with", "alerts", checkout=checkout).start()
    run = run_up.run
    assert run_up.end() == 1, run_up.text
    predicate = run_up.predicate()
    assert predicate["result"] == "FAILED"
    told = evidence(predicate, "alerts.delivered")
    assert told["prometheus"]["state"] == "firing", "it was found"
    assert not told[missing]
    assert told["messages"] == []
    checked = run_up.verify()
    assert checked.returncode == 1
    assert "authentic" in checked.stdout
    ground.assert_nothing_left(run)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("file", "before", "after", "problem"),
    [
        (
            "machine/etc/systemd/system/agency-agent-gateway@.service",
            "SystemCallFilter=capset\n",
            "",
            "ready for work did not come",
        ),
        (
            "agent/etc/nftables.d/agency-agents.d/AGENT.nft",
            "{% if agent.program | default(none) -%}",
            "{% if true -%}",
            "proxy, by agent-pm: not refused",
        ),
    ],
    ids=["no tool server starts", "another agent reaches the proxy"],
)
def test_an_agent_that_does_not_work_or_is_not_alone_fails_it(
    file: str,
    before: str,
    after: str,
    problem: str,
    spinup: Make,
    ground: Any,
    changed_checkout: Change,
) -> None:
    checkout = changed_checkout(
        f"modules/portable/{file}", lambda text: text.replace(before, after)
    )
    run_up = spinup("--with", "agents", checkout=checkout).start()
    run = run_up.run
    assert run_up.end() == 1, run_up.text
    predicate = run_up.predicate()
    assert predicate["result"] == "FAILED"
    (told,) = [each for each in predicate["probes"] if each["name"] == "agent.worked"]
    assert told["status"] == "failed"
    assert problem in told["reason"]
    checked = run_up.verify()
    assert checked.returncode == 1
    assert "authentic" in checked.stdout
    ground.assert_nothing_left(run)
