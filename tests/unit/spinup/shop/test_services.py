"""Probes of services against simulated ones: the official shapes hold, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from observing import Take
from serving import BAD, DOMAIN, Answer, Serve, status

from agency.transcript.rules.v2.judge import PROBES

TOKEN = "glpat-simulated"


async def registry_stranger(request: web.Request) -> web.Response:
    realm = f'Bearer realm="https://gitlab.{DOMAIN}/jwt/auth",service="container_registry"'
    headers = {"WWW-Authenticate": realm, "Docker-Distribution-Api-Version": "registry/2.0"}
    errors = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
    return web.json_response(errors, status=401, headers=headers)


def for_the_administrator(data: Any) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("PRIVATE-TOKEN") != TOKEN:
            return web.json_response({"message": "401 Unauthorized"}, status=401)
        return web.json_response(data)

    return answer


def runner(number: int, description: str, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "description": description,
        "active": True,
        "paused": False,
        "is_shared": True,
        "runner_type": "instance_type",
        "name": None,
        "online": True,
        "status": "online",
        **more,
    }


RUNNERS = [runner(1, "agency: protected branches"), runner(2, "agency: merge requests")]
# doc/administration/monitoring/health_check.md and doc/api/{version,runners}.md of GitLab; the
# distribution's API specification; Grafana's HTTP API; server/router of Woodpecker and Drone.
ROUTES: dict[str, dict[str, Any]] = {
    "gitlab": {
        "/-/health": lambda _: _text("GitLab OK"),
        "/-/readiness": {
            "status": "ok",
            "master_check": [{"status": "ok"}],
            "db_check": [{"status": "ok"}],
            "cache_check": [{"status": "ok"}],
            "gitaly_check": [{"status": "ok", "labels": {"shard": "default"}}],
        },
        "/api/v4/version": for_the_administrator({"version": "18.5.1", "revision": "5f3a1c2b9d0"}),
        "/api/v4/runners/all": for_the_administrator(RUNNERS),
    },
    "registry": {"/v2/": registry_stranger},
    "grafana": {"/api/health": {"commit": "abc", "database": "ok", "version": "12.2.0"}},
    "drone": {
        "/healthz": lambda _: _text("OK"),
        "/version": {"source": "https://github.com/drone/drone.git", "version": "2.26.0"},
    },
    "woodpecker": {
        "/healthz": status(204),
        "/version": {"source": "https://github.com/woodpecker-ci/woodpecker", "version": "3.10.0"},
    },
    "bridge": {"/health": {"status": "ok"}},
    "dashboard": {"/health": {"status": "ok"}},
}
PROBES_OF = {
    "shop.gitlab": "gitlab",
    "shop.runner": "gitlab",
    "shop.registry": "registry",
    "shop.grafana": "grafana",
    "shop.bridge": "bridge",
    "shop.dashboard": "dashboard",
}


async def _text(text: str) -> web.Response:
    return web.Response(text=text)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


def told(probe: str, service: str, port: int, token: Path) -> dict[str, Any]:
    given: dict[str, Any] = {"ports": {service: port}}
    return {**given, "token": token} if service == "gitlab" else given


@pytest.mark.parametrize("probe", PROBES_OF)
async def test_a_service_in_its_official_shape_is_well(
    probe: str, serve: Serve, take: Take, token: Path
) -> None:
    service = PROBES_OF[probe]
    seen = await take(probe, **told(probe, service, (await serve(ROUTES[service])).port, token))
    assert seen.status == "passed", seen.reason
    assert seen.evidence["instance"] == {"name": "example", "domain": DOMAIN}
    assert TOKEN not in json.dumps(seen.evidence)


# Our own pages of health are judged by their status: any body of theirs will do.
BADLY = [
    (probe, bad)
    for probe in PROBES_OF
    for bad in BAD
    if probe not in ("shop.bridge", "shop.dashboard") or bad not in ("a wrong body", "no JSON")
]


@pytest.mark.parametrize(("probe", "bad"), BADLY)
async def test_a_service_that_answers_badly_is_not(
    probe: str, bad: str, serve: Serve, take: Take, token: Path, impatient: None
) -> None:
    service = PROBES_OF[probe]
    port = (await serve(dict.fromkeys(ROUTES[service], BAD[bad]))).port
    seen = await take(probe, **told(probe, service, port, token))
    assert seen.status == "failed"
    assert seen.reason


@pytest.mark.parametrize("probe", PROBES_OF)
async def test_a_port_where_nobody_listens_is_told(
    probe: str, take: Take, token: Path, unused_tcp_port: int
) -> None:
    seen = await take(probe, **told(probe, PROBES_OF[probe], unused_tcp_port, token))
    assert seen.status == "failed"
    assert "no answer: ClientConnectorError" in str(seen.reason)


@pytest.mark.parametrize("probe", PROBES_OF)
async def test_a_unit_that_failed_is_not_well_whatever_answers(
    probe: str, serve: Serve, take: Take, token: Path, states: Callable[[str], None]
) -> None:
    service = PROBES_OF[probe]
    port = (await serve(ROUTES[service])).port
    good = await take(probe, **told(probe, service, port, token))
    name = good.evidence["units"][-1]["name"]
    states(json.dumps({name: ["loaded", "failed"]}))
    seen = await take(probe, **told(probe, service, port, token))
    assert (good.status, seen.status) == ("passed", "failed")
    assert "units" in str(seen.reason)


@pytest.mark.parametrize("probe", PROBES_OF)
async def test_a_redirect_is_not_followed(
    probe: str, serve: Serve, take: Take, token: Path
) -> None:
    service = PROBES_OF[probe]
    elsewhere = await serve(ROUTES[service])
    moved = {
        path: status(307, Location=f"http://127.0.0.1:{elsewhere.port}{path}")
        for path in ROUTES[service]
    }
    port = (await serve(moved)).port
    assert (await take(probe, **told(probe, service, port, token))).status == "failed"
    assert elsewhere.asked == []


LYING: dict[str, tuple[str, str, Any, str]] = {
    "a database that does not answer": (
        "shop.gitlab",
        "/-/readiness",
        {
            "status": "failed",
            "db_check": [{"status": "failed", "message": "no"}],
            "gitaly_check": [{"status": "ok"}],
        },
        "readiness.checks.db_check",
    ),
    "one shard of two": (
        "shop.gitlab",
        "/-/readiness",
        {
            "status": "ok",
            "db_check": [{"status": "ok"}],
            "gitaly_check": [{"status": "ok"}, {"status": "failed"}],
        },
        "readiness.checks.gitaly_check",
    ),
    "a runner that is offline": (
        "shop.runner",
        "/api/v4/runners/all",
        for_the_administrator([RUNNERS[0], runner(2, "agency: merge requests", status="offline")]),
        "runners.1.status",
    ),
    "a runner that is paused": (
        "shop.runner",
        "/api/v4/runners/all",
        for_the_administrator([RUNNERS[0], runner(2, "agency: merge requests", paused=True)]),
        "runners.1.paused",
    ),
    "no runner for merge requests": (
        "shop.runner",
        "/api/v4/runners/all",
        for_the_administrator(RUNNERS[:1]),
        "lacks 'agency: merge requests'",
    ),
    "no runner at all": (
        "shop.runner",
        "/api/v4/runners/all",
        for_the_administrator([]),
        "runners",
    ),
    "a registry open to strangers": ("shop.registry", "/v2/", {}, "status"),
    "a registry of another forge": (
        "shop.registry",
        "/v2/",
        status(
            401,
            **{
                "WWW-Authenticate": 'Bearer realm="https://gitlab.elsewhere.example/jwt/auth",'
                'service="container_registry"',
                "Docker-Distribution-Api-Version": "registry/2.0",
            },
        ),
        "realm",
    ),
    "a registry with passwords of its own": (
        "shop.registry",
        "/v2/",
        status(401, **{"WWW-Authenticate": 'Basic realm="registry"'}),
        "apiVersion",
    ),
    "Grafana without its database": (
        "shop.grafana",
        "/api/health",
        {"database": "failing", "version": "12.2.0"},
        "database",
    ),
}


@pytest.mark.parametrize("case", LYING)
async def test_a_service_that_is_not_well_is_named(
    case: str, serve: Serve, take: Take, token: Path
) -> None:
    probe, path, answer, reason = LYING[case]
    service = PROBES_OF[probe]
    port = (await serve({**ROUTES[service], path: answer})).port
    seen = await take(probe, **told(probe, service, port, token))
    assert seen.status == "failed"
    assert reason in str(seen.reason)


async def test_without_its_token_the_forge_is_asked_nothing_secret(
    serve: Serve, take: Take, tmp_path: Path
) -> None:
    service = await serve(ROUTES["gitlab"])
    for file, wrong in ((tmp_path / "none", ""), (tmp_path / "bad", "glpat-wrong")):
        if wrong:
            file.write_text(wrong)
        seen = await take("shop.gitlab", ports={"gitlab": service.port}, token=file)
        assert seen.status == "failed"
        assert ("answers 401" if wrong else "cannot read GitLab's token") in str(seen.reason)
        assert not wrong or wrong not in str(seen.reason)


@pytest.mark.parametrize("engine", ["drone", "woodpecker"])
async def test_an_engine_with_pages_answers(engine: str, serve: Serve, take: Take) -> None:
    port = (await serve(ROUTES[engine])).port
    seen = await take("shop.ci", engine=engine, ports={engine: port})
    assert seen.status == "passed", seen.reason
    ill = (await serve({**ROUTES[engine], "/healthz": status(500)})).port
    assert "health" in str((await take("shop.ci", engine=engine, ports={engine: ill})).reason)


async def test_the_engine_of_our_own_is_its_unit(take: Take, states: Callable[[str], None]) -> None:
    assert (await take("shop.ci", engine="builtin")).status == "passed"
    states(json.dumps({"agency-runner.service": ["loaded", "failed"]}))
    assert (await take("shop.ci", engine="builtin")).status == "failed"


async def test_units_that_are_not_there_say_so(
    take: Take, states: Callable[[str], None], machine: Any
) -> None:
    from agency.spinup.probes.probe import run

    states(json.dumps({"grafana.service": ["not-found", "inactive"]}))
    wanted = ["nginx.service", "grafana.service"]
    seen = await run(machine, "shop.units", {"units": wanted})
    assert {name: unit["load"] for name, unit in seen["units"].items()} == {
        "nginx.service": "loaded",
        "grafana.service": "not-found",
    }


async def test_every_probe_of_the_shop_has_a_rule() -> None:
    from agency.spinup.probes.probe import probes

    taken = {name for name in probes() if name.startswith("shop.")} - {"shop.units"}
    assert taken == {name for name in PROBES if name.startswith("shop.")} - {"shop.services"}
