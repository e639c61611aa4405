"""The gate `shop` is met by the probes of every enabled service, and by nothing less."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agency.instance.model import Instance
from agency.spinup.shop.services import enabled, pages
from agency.transcript.commands import transcript
from agency.transcript.rules.v2 import judge, shop
from agency.transcript.rules.v2.model import Predicate
from agency.transcript.verification import Policy, verify

Document = dict[str, Any]
Seal = Callable[[object], bytes]
SAMPLE: dict[str, Document] = json.loads((Path(__file__).parent / "shop_evidence.json").read_text())
DEMANDED = sorted(SAMPLE.keys() - {"shop.services"})
ELSEWHERE = "elsewhere.example"


def entry(document: Document, name: str) -> Document:
    (found,) = (one for one in document["predicate"]["probes"] if one["name"] == name)
    assert isinstance(found, dict)
    return found


def reason(document: Document) -> str:
    """Why the gate is not met; empty where it is."""
    verdict = judge.gate(Predicate.model_validate(document["predicate"]), "shop")
    assert verdict.ok is (verdict.reason == "")
    return verdict.reason


def test_the_whole_shop_meets_it(shop_document: Document, seal: Seal, pem: bytes) -> None:
    assert reason(shop_document) == ""
    report = verify(seal(shop_document), pem, policy=Policy(gates=("shop",)))
    assert report.ok, report.reasons


def test_every_rule_of_the_shop_is_demanded_by_a_service() -> None:
    named = {probe for probes in shop.REQUIRED.values() for probe in probes}
    assert {rule.name for rule in shop.RULES} - named == {shop.SERVICES, shop.LOGIN}
    assert named <= judge.PROBES.keys()


@pytest.mark.parametrize("name", DEMANDED)
def test_one_probe_that_is_missing_is_named(name: str, shop_document: Document) -> None:
    shop_document["predicate"]["probes"].remove(entry(shop_document, name))
    assert f"the probe {name} is missing" in reason(shop_document)


@pytest.mark.parametrize("name", DEMANDED)
def test_one_probe_that_failed_is_named(name: str, shop_document: Document) -> None:
    entry(shop_document, name).update(evidence={}, status="failed", reason="could not be observed")
    assert f"the probe {name} does not hold: could not be observed" in reason(shop_document)


@pytest.mark.parametrize("name", DEMANDED)
def test_one_probe_that_says_failed_is_named(name: str, shop_document: Document) -> None:
    entry(shop_document, name)["status"] = "failed"
    assert f"the probe {name} is said to have failed" in reason(shop_document)


@pytest.mark.parametrize("name", DEMANDED)
def test_one_probe_that_was_simulated_is_named(
    name: str, shop_document: Document, seal: Seal, pem: bytes
) -> None:
    entry(shop_document, name)["mode"] = "simulated"
    assert f"the probe {name} was simulated" in reason(shop_document)
    shop_document["predicate"]["gates"][-1]["met"] = False
    demanded = verify(seal(shop_document), pem, policy=Policy(gates=("shop",)))
    assert demanded.refused_by == "required"
    assert verify(seal(shop_document), pem).ok, "without the demand it is what it says"


@pytest.mark.parametrize("name", DEMANDED)
def test_one_probe_of_another_instance_is_named(
    name: str, shop_document: Document, seal: Seal, pem: bytes
) -> None:
    """Evidence that holds by itself, and was taken elsewhere."""
    found = entry(shop_document, name)
    moved = json.dumps(found["evidence"]).replace("agency.example", ELSEWHERE)
    found["evidence"] = json.loads(moved)
    assert judge.PROBES[name].judge(found["evidence"]).ok
    assert f"{name}: of another instance: example at {ELSEWHERE}" in reason(shop_document)
    report = verify(seal(shop_document), pem)
    assert f"{name}: of another instance than shop.services" in " ".join(report.reasons)


@pytest.mark.parametrize("name", DEMANDED)
def test_one_probe_that_is_there_twice_is_named(name: str, shop_document: Document) -> None:
    shop_document["predicate"]["probes"].append(entry(shop_document, name))
    assert f"the probe {name} is there 2 times" in reason(shop_document)


def test_without_the_list_of_services_it_is_not_met(shop_document: Document) -> None:
    shop_document["predicate"]["probes"].remove(entry(shop_document, "shop.services"))
    assert reason(shop_document) == "the probe shop.services is missing"


@pytest.mark.parametrize("service", sorted(shop.REQUIRED))
def test_a_service_that_is_absent_is_named_with_why(service: str, shop_document: Document) -> None:
    (one,) = (
        each
        for each in entry(shop_document, "shop.services")["evidence"]["services"]
        if each["service"] == service
    )
    one.update(
        load="not-found", active="inactive", here=False, why=f"the machine has no {one['unit']}"
    )
    assert f"{service} is absent: the machine has no {one['unit']}" in reason(shop_document)


def test_absence_is_not_hidden_by_a_word(shop_document: Document) -> None:
    one = entry(shop_document, "shop.services")["evidence"]["services"][3]
    for state in (("not-found", "inactive"), ("loaded", "inactive"), ("masked", "active")):
        one.update(load=state[0], active=state[1])
        assert "here: not as the unit of gitlab is" in reason(shop_document)
    one.update(here=False, why=" ")
    assert "nothing says why gitlab is absent" in reason(shop_document)


def test_a_failed_unit_is_on_the_machine_and_its_probe_says_so(shop_document: Document) -> None:
    one = entry(shop_document, "shop.services")["evidence"]["services"][3]
    one["active"] = "failed"
    assert reason(shop_document) == ""
    entry(shop_document, "shop.gitlab")["evidence"]["units"][0]["active"] = "failed"
    assert "the probe shop.gitlab does not hold: units.0.active" in reason(shop_document)


def test_everything_that_is_missing_is_named(shop_document: Document) -> None:
    for name in ("shop.grafana", "shop.k3s"):
        shop_document["predicate"]["probes"].remove(entry(shop_document, name))
    assert reason(shop_document) == (
        "grafana: the probe shop.grafana is missing; k3s: the probe shop.k3s is missing"
    )


def test_a_list_of_another_instance_is_refused(
    shop_document: Document, seal: Seal, pem: bytes
) -> None:
    """An instance that enables less has another digest."""
    entry(shop_document, "shop.services")["evidence"]["rendered"] = "d5" * 32
    assert verify(seal(shop_document), pem).refused_by == "subjects"


def test_a_list_of_another_host_is_refused(shop_document: Document, seal: Seal, pem: bytes) -> None:
    for name in SAMPLE:
        owner = entry(shop_document, name)["evidence"]["instance"]
        owner["name"] = "other"
    assert reason(shop_document) == ""
    reasons = " ".join(verify(seal(shop_document), pem).reasons)
    assert "shop.services: not of what host.system found" in reasons


def test_a_stand_in_for_the_forge_does_not_satisfy(shop_document: Document) -> None:
    login = entry(shop_document, "oidc.login")["evidence"]
    login["kind"] = "certified provider package, not GitLab"
    assert reason(shop_document) == "oidc.login: by a certified provider package, not GitLab"


def test_a_page_that_nobody_logged_in_to_is_named(shop_document: Document) -> None:
    login = entry(shop_document, "oidc.login")["evidence"]
    login["pages"] = [page for page in login["pages"] if page["page"] != "grafana"]
    assert reason(shop_document) == "oidc.login: no log-in to grafana"


def test_a_spin_up_of_processes_has_no_shop(document: Document) -> None:
    assert reason(document) == "the probe shop.services is missing"


def test_the_command_says_what_is_missing(
    shop_document: Document, seal: Seal, pem: bytes, tmp_path: Path
) -> None:
    file, key = tmp_path / "transcript.json", tmp_path / "transcript.pub"
    key.write_bytes(pem)

    def run(document: Document) -> Any:
        file.write_bytes(seal(document))
        return CliRunner().invoke(
            transcript,
            ["verify", str(file), "--key", str(key), "--gate", "shop", "--json"],
            standalone_mode=False,
        )

    whole = run(shop_document)
    assert whole.return_value == 0, whole.output
    less = copy.deepcopy(shop_document)
    less["predicate"]["probes"].remove(entry(less, "shop.registry"))
    less["predicate"]["gates"][-1]["met"] = False
    lacking = run(less)
    assert lacking.return_value == 1
    said = json.loads(lacking.output)
    assert said["refusedBy"] == "required"
    assert "registry: the probe shop.registry is missing" in said["verdict"]


BASE: Document = {
    "version": 1,
    "name": "sample",
    "domain": "a.example",
    "operators": ["@alice:a.example"],
    "secrets": {"provider": "ephemeral"},
}


def instance(preview: list[str] | None = None, **services: Document) -> Instance:
    document = {**BASE, "services": services, "preview": preview or []}
    return Instance.model_validate(document)


def of(found: Instance) -> list[str]:
    return [service.name for service in enabled(found)]


ON = {"enable": True}


def test_only_what_is_enabled_is_listed() -> None:
    assert of(instance()) == ["matrix"]
    assert of(instance(matrix={"enable": False})) == []
    assert of(instance(gitlab=ON)) == ["matrix", "gitlab", "registry"]
    assert of(instance(observability=ON)) == ["matrix", "grafana", "prometheus"]
    for name in ("edge", "element", "k3s", "swarm", "traefik", "ci", "bridge", "dashboard"):
        assert of(instance(**{name: ON})) == ["matrix", name]


def test_an_unwritten_runner_is_listed_where_it_is_previewed() -> None:
    assert "runner" in of(instance(["gitlab-runner"], gitlab=ON))
    assert "runner" not in of(instance(["gitlab-runner"]))


def test_every_service_of_an_instance_can_be_listed_and_is_demanded() -> None:
    services = {name: ON for name in type(instance().services).model_fields if name != "matrix"}
    found = of(instance(["gitlab-runner"], **services))
    assert sorted(found) == sorted(shop.REQUIRED)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("engine", ["builtin", "drone", "woodpecker"])
def test_the_engine_decides_unit_input_and_page(engine: str) -> None:
    found = instance(gitlab=ON, ci={**ON, "engine": engine}, observability=ON)
    (ci,) = (service for service in enabled(found) if service.name == "ci")
    unit = {"builtin": "agency-runner", "drone": "drone-server", "woodpecker": "woodpecker-server"}
    assert (ci.unit, ci.told) == (f"{unit[engine]}.service", {"engine": engine})
    own = () if engine == "builtin" else (engine,)
    assert pages(found) == ("matrix", "grafana", *own)
    assert pages(instance(observability=ON, ci={**ON, "engine": engine})) == ()


def states() -> Iterator[tuple[str, str, bool]]:
    for load in ("loaded", "not-found", "masked", "error"):
        for active in ("active", "inactive", "failed", "activating", "deactivating"):
            yield load, active, load == "loaded" and active != "inactive"


@pytest.mark.parametrize(("load", "active", "here"), list(states()))
def test_what_the_spin_up_lists_is_what_the_rule_accepts(
    load: str, active: str, here: bool
) -> None:
    from agency.spinup.shop.services import listed

    services = enabled(instance())
    (one,) = listed(services, {"matrix-synapse.service": {"load": load, "active": active}})
    assert one["here"] is here
    assert bool(one["why"]) is not here
    evidence = {**SAMPLE["shop.services"], "services": [one], "pages": []}
    assert judge.PROBES["shop.services"].judge(evidence).ok
