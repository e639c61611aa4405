"""Logging in to a guest's homeserver through a certified OpenID provider that runs beside it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from agency.guests.images.layout import PREFIX
from agency.guests.images.prepare import Materials
from agency.guests.incus.execution import Command
from agency.guests.machines.machine import Guest
from agency.machine.machine import MachineError
from agency.sandbox.contents import Contents
from agency.spinup.targets.incus.oidc.probe import PAGES, oidc_login, pages_evidence
from agency.spinup.targets.incus.oidc.provider import (
    UNIT,
    RunningProvider,
    issue_client,
    start_provider,
    stop_provider,
)
from agency.spinup.targets.incus.oidc.request import CALLBACK
from agency.transcript.rules.v1.oidc import RULES
from agency.transcript.rules.v2.judge import PROBES

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).resolve().parents[3]
DOMAIN = "agency.example"
FLOWS = "http://127.0.0.1:8008/_matrix/client/v3/login"
PYTHON = str(PREFIX / "bin" / "python")
ASK = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())"
LOCATION = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
connection.request("GET", sys.stdin.read())
print(connection.getresponse().getheader("Location"))
"""
SSO = "m.login.sso"
PASSWORD = "m.login.password"


async def flows(guest: Guest) -> set[str]:
    """How the homeserver says that one may log in."""
    answer = json.loads(await guest.run(PYTHON, "-I", "-c", ASK, FLOWS))
    return {flow["type"] for flow in answer["flows"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def activated(guest: Guest, materials: Materials) -> Guest:
    """A guest with the exported units, before anybody issued a client."""
    await Contents(materials.image.directory.parents[1]).activate(guest, ROOT)
    return guest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(activated: Guest, materials: Materials) -> AsyncIterator[RunningProvider]:
    """A provider that the homeserver knows."""
    running = await start_provider(activated, materials.provider, domain=DOMAIN)
    await issue_client(activated, running)
    yield running


async def test_without_a_client_the_homeserver_serves_and_offers_no_provider(
    activated: Guest,
) -> None:
    found = await flows(activated)
    assert PASSWORD in found
    assert SSO not in found


async def test_a_log_in_whose_evidence_holds(activated: Guest, provider: RunningProvider) -> None:
    evidence = await oidc_login(activated, provider)
    verdict = RULES[0].judge(evidence)
    assert verdict.ok, verdict.reason
    assert evidence["userId"] == f"@member:{DOMAIN}"
    assert evidence["provider"]["name"] == "oidc-provider"
    (page,) = evidence["pages"]
    assert (page["page"], page["account"], page["status"]) == ("matrix", "member", 200)
    owner = {"name": "example", "domain": DOMAIN}
    assert PROBES[PAGES].judge(pages_evidence(evidence, owner)).ok
    assert SSO in await flows(activated)
    text = json.dumps(evidence)
    assert [value for value in provider.secret_values if value in text] == []


async def test_the_wrong_account_logs_nobody_in(
    activated: Guest, provider: RunningProvider
) -> None:
    stranger = RunningProvider(
        provider.wiring,
        provider.facts,
        provider.public,
        "stranger",
        provider.client_id,
        provider.client_secret,
        provider.password,
    )
    with pytest.raises(MachineError, match="the provider refused: 401") as caught:
        await oidc_login(activated, stranger)
    told = f"{caught.value} {caught.value.log_tail}"
    assert [value for value in provider.secret_values if value in told] == []


async def test_the_provider_refuses_a_request_without_pkce(
    activated: Guest, provider: RunningProvider
) -> None:
    async def leads_to(**challenge: str) -> str:
        query = {
            "client_id": provider.client_id,
            "redirect_uri": f"{provider.public}{CALLBACK}",
            "response_type": "code",
            "scope": "openid",
            "state": "s" * 30,
            "nonce": "n" * 30,
            **challenge,
        }
        request = f"/auth?{urlencode(query)}"
        said = await activated.run(
            PYTHON, "-I", "-c", LOCATION, str(provider.wiring.port), stdin=request.encode()
        )
        return said.decode()

    assert "error=invalid_request" in await leads_to()
    allowed = await leads_to(code_challenge="c" * 43, code_challenge_method="S256")
    assert "/interaction/" in allowed
    assert "error" not in allowed


async def test_the_provider_is_hardened_and_on_loopback_alone(
    activated: Guest, provider: RunningProvider
) -> None:
    rated = (await activated.look("systemd-analyze", "security", "--no-pager", UNIT)).stdout
    found = re.search(rb"Overall exposure level for .*?: ([0-9.]+)", rated)
    assert found is not None
    assert float(found[1]) <= 2.0
    listening = (await activated.run("ss", "-Htln")).decode().split()
    port = provider.wiring.port
    assert [one for one in listening if one.endswith(f":{port}")] == [f"127.0.0.1:{port}"]


async def test_its_secrets_are_only_where_they_belong(
    activated: Guest, provider: RunningProvider
) -> None:
    """Files, arguments and environments, as root sees them."""
    places = ("/etc", "/home", "/opt/spinup-oidc-provider", "/root", "/run", "/tmp", "/var")
    holders = set()
    for value in provider.secret_values:
        argv = ("grep", "--recursive", "--files-with-matches", "--fixed-strings", "--file=-")
        script = [*argv, "--devices=skip", *places]
        done = await activated.incus.exec(
            activated.name, Command(script), stdin=value.encode(), timeout_s=120
        )
        holders |= set(done.stdout.decode().split())
    credentials = {path for path in holders if path.startswith("/run/credentials/")}
    assert {path.split("/")[3] for path in credentials} == {"matrix-synapse.service", UNIT}
    assert holders - credentials == {
        "/run/agency-issued/matrix-oidc.yaml",
        "/run/spinup-oidc-provider.json",
        "/var/lib/agency/issued/matrix-oidc-client-secret",
    }
    owners = await activated.run("stat", "--format=%U %a", *sorted(holders - credentials))
    assert set(owners.decode().splitlines()) <= {"root 600", "root 400"}


async def test_activation_finds_nothing_to_change(
    activated: Guest, provider: RunningProvider
) -> None:
    source = "/opt/source"
    await activated.run(
        *(str(PREFIX / "bin" / "agency"), "activate", "--check"),
        *("--portable", f"{source}/modules/portable", "--instance", f"{source}/instance"),
        timeout_s=60,
    )


async def test_the_homeserver_boots_and_serves_while_the_provider_is_down(
    activated: Guest, provider: RunningProvider
) -> None:
    await stop_provider(activated)
    await activated.reboot(timeout_s=120)
    assert {PASSWORD, SSO} <= await flows(activated)
    with pytest.raises(MachineError, match="ConnectionError"):
        await oidc_login(activated, provider)
    assert PASSWORD in await flows(activated)
