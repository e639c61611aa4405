"""Services that need others: told by check, added by init, and the same as the modules refuse."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agency.instance.check import examine
from agency.instance.making.ask import SERVICES
from agency.instance.making.create import InstanceOptions
from agency.instance.reading.dependencies import DEPENDENCIES, with_needed
from agency.unwritten import FEATURES

Write = Callable[[str], Path]
ROOT = Path(__file__).resolve().parents[3]
MODULES = ROOT / "modules"
MODULE_OF = {"ci": "ci/default", "observability": "observability/default"}


def told(write: Write, good: str, services: str) -> list[tuple[int | None, str, str]]:
    root = write(f"{good}preview: [{', '.join(FEATURES)}]\nservices:\n{services}")
    return [
        (one.line, one.field, one.message)
        for one in examine(root)
        if one.file.endswith("instance.yaml")
    ]


@pytest.mark.parametrize(
    ("service", "needed"),
    [
        ("element", {"edge"}),
        ("gitlab", {"edge"}),
        ("traefik", {"swarm", "edge"}),
        ("ci", {"swarm", "traefik"}),
        ("bridge", {"ci"}),
        ("dashboard", {"ci"}),
    ],
)
def test_a_service_alone_is_refused_with_what_it_needs(
    write: Write, good: str, service: str, needed: set[str]
) -> None:
    found = told(write, good, f"  {service}:\n    enable: true\n")
    assert {(line, field) for line, field, _ in found} == {(15, f"services.{service}")}
    assert {message.partition(":")[0] for _, _, message in found} == {
        f"needs {one}, which is off" for one in needed
    }
    assert all("services." in message and "enable: true" in message for _, _, message in found)


def test_k3s_without_the_homeserver_is_refused(write: Write, good: str) -> None:
    ((line, field, message),) = told(
        write, good, "  matrix: {enable: false}\n  k3s: {enable: true}\n"
    )
    assert (line, field) == (16, "services.k3s")
    assert message.startswith("needs matrix, which is off: ")


def test_what_has_all_it_needs_is_not_refused(write: Write, good: str) -> None:
    every = "".join(f"  {name}: {{enable: true}}\n" for name in SERVICES)
    assert told(write, good, every) == []
    # A service that is off needs nothing.
    assert told(write, good, "  element: {enable: false}\n") == []


def test_needed_services_are_added_with_those_that_they_need() -> None:
    services, added = with_needed(("bridge",))
    assert set(services) == {"bridge", "ci", "swarm", "traefik", "edge"}
    assert [(one.needs, one.service) for one in added] == [
        ("ci", "bridge"),
        ("swarm", "ci"),
        ("traefik", "ci"),
        ("edge", "traefik"),
    ]
    assert with_needed(("edge", "element")) == (("edge", "element"), ())
    # matrix is on in every new instance.
    assert with_needed(("k3s",)) == (("k3s",), ())


def test_the_table_names_only_services_and_has_no_circle() -> None:
    for one in DEPENDENCIES:
        assert {one.service, one.needs} <= {"matrix", *SERVICES}
        services, _ = with_needed((one.needs,))
        assert one.service not in services


def named_in_the_remedies() -> set[tuple[str, str]]:
    """Pairs of a service and one that its module's assertion says to enable in instance.yaml."""
    found = set()
    for service in SERVICES:
        source = (MODULES / f"{MODULE_OF.get(service, service)}.nix").read_text()
        for assertion, message in re.findall(
            r"assertion = ([^;]+);\s+message = ''(.*?)'';", source, re.DOTALL
        ):
            needed = set(re.findall(r"services\.([a-z0-9]+)\.enable in", message))
            needed |= set(re.findall(r"services\.([a-z0-9]+)\.enable and", message))
            # With an option of a host as the other way, instance.yaml alone is not at fault.
            if ", or set agency." not in message:
                found |= {(service, one) for one in needed}
            assert needed or "services." not in message, assertion
    return found


def test_the_table_is_what_the_modules_refuse() -> None:
    assert {(one.service, one.needs) for one in DEPENDENCIES} == named_in_the_remedies()


def test_what_is_evaluated_alone_has_all_that_it_needs() -> None:
    """The Nix suite evaluates each service with what it needs, and nothing fails there."""
    report = (ROOT / "tests" / "nix" / "report.nix").read_text()
    part = report[report.index("alone = ") :]
    part = part[: part.index("};")]
    machines = {
        name: set(re.findall(r'"([a-z0-9]+)"', names))
        for name, names in re.findall(r"(\w+) = \[(.*?)\];", part, re.DOTALL)
    }
    assert {"element", "gitlab", "traefik", "ci", "k3s"} <= machines.keys()
    for service, evaluated in machines.items():
        services, _ = with_needed((service,))
        assert set(services) <= evaluated, service


def test_options_keep_their_services() -> None:
    options = InstanceOptions("a", "a.example", ("@a:a.example",), {}, services=("element",))
    assert options.services == ("element",)
