"""Text of an enrolment for people: what was found, what is proposed."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from agency.recipes.enrol.findings import FoundService
from agency.recipes.enrol.proposals import Proposal
from agency.recipes.enrol.source import Found


def print_findings(out: Console, found: Found) -> None:
    """Print what is in a recipe."""

    def say(text: str) -> None:
        out.print(Text(text))

    findings = found.findings
    say(f"{findings.recipe} from {found.place} at {found.commit[:12]}")
    for service in findings.services:
        say(f"  service {service.name}: {service.image}")
        for line in _about(service):
            say(f"    {line}")
    for title, names in (
        ("volumes", findings.volumes),
        ("variables", findings.variables),
        ("secrets", findings.secrets),
        ("published", findings.versions[:5]),
    ):
        say(f"  {title}: {', '.join(names) or 'none'}")
    if findings.routed is None:
        say("  no service has a Traefik router with a Host rule: nothing leads to the app")
    for one in findings.refused:
        say(f"  refused: {one.where}: {one.message} ({one.rule})")


def _about(service: FoundService) -> list[str]:
    lines = [f"health check: {service.healthcheck or 'none'}"]
    for route in service.routes:
        kind = "TLS passed through" if route.passthrough else "HTTP"
        port = f" to port {route.port}" if route.port else ""
        lines.append(f"{kind}: {', '.join(route.hosts) or 'no Host rule'}{port}")
    if service.backup:
        lines.append("backed up")
    if service.hooks:
        lines.append(f"hooks: {', '.join(service.hooks)}")
    if service.secrets:
        lines.append(f"secrets: {', '.join(service.secrets)}")
    return lines


def print_proposals(out: Console, proposals: tuple[Proposal, ...]) -> None:
    """Print the proposed assertions, by stage."""
    for one in proposals:
        left = " (to fill in)" if one.fill_in else ""
        suite = f"{one.suite}: " if one.suite else ""
        out.print(Text(f"  {one.stage}: {suite}{one.assertion}{left}"))
