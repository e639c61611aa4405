"""Python and Nix agree on every name, number and secret, whatever the instance."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agency import naming
from agency.errors import AgencyError
from agency.instance.load import load_instance
from agency.instance.model import Instance, Services
from agency.instance.needs import required_secrets
from agency.instance.render import write_rendered

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,14}[a-z0-9])?", fullmatch=True)
LABELS = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True)
SERVICES = sorted(field.alias or name for name, field in Services.model_fields.items())
INSTANCES_AT_ONCE = 20
Evaluate = Callable[..., Any]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """The content of an instance.yaml."""
    domain = ".".join(draw(st.lists(LABELS, min_size=1, max_size=3))) + ".example"
    services: dict[str, Any] = {
        name: {"enable": draw(st.booleans())} for name in SERVICES if draw(st.booleans())
    }
    if "ci" in services:
        engines = ["builtin", "drone", "woodpecker"]
        if not services.get("gitlab", {}).get("enable"):
            engines.append("gitea-actions")
        services["ci"]["engine"] = draw(st.sampled_from(engines))
        services["ci"]["maxTests"] = draw(st.integers(1, 64))
    # The control plane's document is rendered only with the homeserver.
    services["matrix"] = {"enable": True, "federation": draw(st.booleans())}
    agents: dict[str, Any] = {}
    for name in draw(st.sets(NAMES, max_size=5)):
        agents[name] = {"role": draw(NAMES), "enable": draw(st.booleans())}
        if draw(st.booleans()):
            agents[name]["uid"] = draw(st.integers(4000, 29999))
        if draw(st.booleans()):
            agents[name]["port"] = draw(st.integers(20000, 31999))
    return {
        "version": 1,
        "name": draw(NAMES),
        "domain": domain,
        "operators": [f"@{draw(LABELS)}:{domain}"],
        "services": services,
        "agents": agents,
        "secrets": {"provider": "sops", "recipients": {"host": "age1" + "q" * 58}},
    }


def _python(instance: Instance) -> dict[str, Any]:
    return {
        "name": instance.name,
        "domain": instance.domain,
        "operators": list(instance.operators),
        "ports": dict(naming.SERVICE_PORTS),
        "agents": {
            agent.name: {
                "role": agent.role,
                "uid": agent.uid,
                "port": agent.port,
                "user": naming.agent_user(agent.name),
                "matrixId": agent.matrix_id,
                "account": {
                    "uid": agent.uid,
                    "group": naming.AGENTS_GROUP,
                    "home": f"/home/{naming.agent_user(agent.name)}",
                },
            }
            for agent in instance.resolved_agents()
        },
    }


def _agree(instance: Instance, seen: dict[str, Any]) -> None:
    wanted = _python(instance)
    assert {key: seen[key] for key in wanted} == wanted
    hosts = {name: naming.public_host(name, instance.domain) for name in naming.PUBLIC_SERVICES}
    assert seen["names"]["hosts"] == hosts
    assert seen["names"]["controlUid"] == naming.CONTROL_UID
    users = {naming.agent_user(agent.name) for agent in instance.resolved_agents()}
    assert set(seen["accounts"]) == users | {"root", "agency-control"}

    specs = {spec.name: spec for spec in required_secrets(instance)}
    assert set(seen["secrets"]) == set(specs)
    for name, secret in seen["secrets"].items():
        spec = specs[name]
        assert (secret["class"], secret["owner"], secret["mode"], secret["optional"]) == (
            spec.cls.value,
            spec.owner,
            spec.mode,
            spec.optional,
        )
        assert set(spec.consumers) <= set(secret["consumers"])
        directory = "/var/lib/agency/issued" if spec.cls.value == "C" else "/run/secrets"
        assert secret["path"] == f"{directory}/{name}"


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(drawn=st.lists(documents(), min_size=INSTANCES_AT_ONCE, max_size=INSTANCES_AT_ONCE))
def test_python_and_nix_agree(
    snapshot: Path, evaluate: Evaluate, drawn: list[dict[str, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as place:
        instances: dict[str, Instance] = {}
        for number, document in enumerate(drawn):
            directory = Path(place) / str(number)
            directory.mkdir()
            (directory / "instance.yaml").write_text(yaml.safe_dump(document))
            try:
                loaded = load_instance(directory, check_recipients=False)
            except AgencyError:
                continue  # two agents drew one number: no such instance is ever rendered
            write_rendered(loaded)
            instances[str(directory)] = loaded.instance
        listed = " ".join(f'"{directory}"' for directory in instances)
        assert len(instances) > INSTANCES_AT_ONCE / 2
        seen = evaluate(
            snapshot / "tests/nix/agreement.nix", "--arg", "directories", f"[ {listed} ]"
        )
    for directory, instance in instances.items():
        _agree(instance, seen[directory])
