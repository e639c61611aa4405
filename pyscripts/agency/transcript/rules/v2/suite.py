"""What the suite must have shown: every refusal by its name, and no test left out but for a reason.

A suite in which one test of each file passed would show that machines run. What keeps agents apart
is what is refused, so each of these tests must have passed; and a test may be left out where, and
with the words with which, it is known that a machine cannot show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import model_validator

from agency.transcript.rules.v2.features import FEATURES, SHOWN_READ_ONLY
from agency.transcript.rules.v2.model import Exchange
from agency.transcript.rules.v2.rule import Seen, Shape, Some, matches

# The refusals of docs/isolation.md: of these, a host at work can bear the first.
REFUSED_READ_ONLY: tuple[str, ...] = (
    "test_agents_users.py::test_a_uid_of_no_agent_belongs_to_nobody",
    "test_agents_users.py::test_agents_are_in_no_privileged_group",
    "test_agents_users.py::test_nobody_can_log_in_as_an_agent",
    "test_agents_users.py::test_setuid_programs_are_those_of_the_distribution",
    "test_egress.py::test_every_agent_is_in_the_firewalls_table",
    "test_limits.py::test_each_agent_has_a_slice_of_its_own",
    "test_limits.py::test_every_agent_has_limits",
    "test_network.py::test_nothing_leads_out",
    "test_network.py::test_there_is_no_interface_but_loopback",
    "test_ports.py::test_ports_are_on_loopback_alone",
    "test_secrets.py::test_no_agent_lists_where_secrets_are",
    "test_secrets.py::test_no_agent_reads_a_secret",
    "test_system.py::test_a_service_that_does_not_exist_does_not_run",
    "test_system.py::test_nothing_listens_on_a_port_of_nobody",
    "test_units.py::test_a_unit_without_hardening_would_be_noticed",
)
REFUSED_DISTURBING: tuple[str, ...] = (
    "test_agents_users.py::test_another_agents_files_are_out_of_reach",
    "test_agents_users.py::test_system_files_cannot_be_changed",
    "test_agents_users.py::test_system_paths_cannot_be_written",
    "test_agents_users.py::test_there_is_no_way_to_root",
    "test_audit.py::test_it_verifies_and_a_tampered_copy_does_not",
    "test_audit.py::test_no_agent_can_read_or_change_its_log",
    "test_audit.py::test_who_is_no_agent_is_refused",
    "test_confinement.py::test_it_may_not",
    "test_confinement.py::test_it_runs_as_its_user_without_any_right",
    "test_confinement.py::test_other_homes_are_not_even_there",
    "test_confinement.py::test_setuid_programs_give_it_nothing",
    "test_confinement.py::test_the_agent_itself_is_held_alike",
    "test_confinement.py::test_the_system_is_read_only_for_it",
    "test_confinement.py::test_what_it_puts_in_a_shared_place_nobody_finds",
    "test_egress.py::test_a_rule_that_is_withdrawn_ends_what_it_allowed",
    "test_egress.py::test_it_reaches_nobody_who_looks_names_up",
    "test_egress.py::test_no_icmpv4_leaves",
    "test_egress.py::test_no_icmpv6_leaves",
    "test_egress.py::test_the_outside_hears_no_agent_that_serves",
    "test_egress.py::test_undeclared_egress_is_refused",
    "test_limits.py::test_a_memory_hog_dies_in_its_slice_and_others_live",
    "test_limits.py::test_its_share_of_the_processors_is_bounded",
    "test_limits.py::test_processes_are_bounded",
    "test_polkit.py::test_an_agent_may_nothing",
    "test_polkit.py::test_isolating_an_agent_is_refused",
    "test_polkit.py::test_no_service_that_runs_is_its_to_touch",
    "test_polkit.py::test_nobody_else_may_stop_an_agent",
    "test_polkit.py::test_not_even_an_agent_is_its_to_kill",
    "test_polkit.py::test_what_the_control_plane_may_not",
    "test_ports.py::test_an_agent_does_not_run_without_the_firewall",
    "test_ports.py::test_an_agent_has_no_way_into_the_database",
    "test_ports.py::test_not_even_when_more_ask_than_it_lets_wait",
    "test_ports.py::test_others_cannot_connect_to_an_agent",
    "test_ports.py::test_who_takes_a_services_port_is_heard_by_nobody",
    "test_ports.py::test_who_takes_an_agents_port_is_heard_by_nobody",
    "test_processes.py::test_an_agents_program_does_not_see_others",
    "test_processes.py::test_another_agents_memory_and_environment_cannot_be_read",
    "test_processes.py::test_another_agents_processes_cannot_be_signalled",
    "test_processes.py::test_services_cannot_be_signalled",
    "test_recovery.py::test_a_stopped_service_stays_down",
    "test_recovery.py::test_another_agent_does_not_notice",
    "test_recovery.py::test_what_is_to_come_back_was_killed",
    "test_secrets.py::test_an_agents_token_is_for_it_and_the_control_plane",
    "test_secrets.py::test_no_secret_is_in_a_command_line_or_environment",
)


@dataclass(frozen=True, slots=True)
class Skip:
    """A test that may be left out: what it must say, and where alone it may."""

    reason: str
    image: tuple[str, str] | None = None  # what guest.image must say then: field and value
    guest: bool = True  # whether a throwaway guest may leave it out
    whole: bool = True  # whether nothing else is left of the test's function


_NETWORK = Skip("a host that people use has a network", guest=False)


def _not_on_nixos(path: str) -> Skip:
    return Skip(f"there is no {path} on this machine", image=("system", "nixos"), whole=False)


_READ_ONLY = "test_confinement.py::test_the_system_is_read_only_for_it"
SKIPS: Mapping[str, Skip] = {
    "test_agents_users.py::test_system_files_cannot_be_changed[/etc/nftables.conf]": _not_on_nixos(
        "/etc/nftables.conf"
    ),
    **{f"{_READ_ONLY}[{path}]": _not_on_nixos(path) for path in ("/usr/local", "/opt", "/srv")},
    f"{_READ_ONLY}[/run]": Skip(
        "a container does not hold what is mounted below /",
        image=("kind", "container"),
        whole=False,
    ),
    "test_limits.py::test_its_share_of_the_processors_is_bounded": Skip(
        "this machine is handed no controller of processors", image=("kind", "container")
    ),
    "test_limits.py::test_the_same_program_runs_outside_the_slice": Skip(
        "this machine has no more memory than an agent may use"
    ),
    "test_network.py::test_there_is_no_interface_but_loopback": _NETWORK,
    "test_network.py::test_nothing_leads_out[192.0.2.1]": _NETWORK,
    "test_network.py::test_nothing_leads_out[2001:db8::1]": _NETWORK,
}


def function_of(test: str) -> str:
    """The test's name without what it was run with."""
    return test.partition("[")[0]


class SuiteTest(Shape):
    """One test of the suite; one that was left out says why."""

    name: Annotated[Seen, matches(r"[a-z0-9_]+\.py::\S.*", "FILE::TEST")]
    outcome: Literal["passed", "skipped", "failed", "error"]
    message: str | None

    @model_validator(mode="after")
    def _reason(self) -> Self:
        if self.outcome in ("failed", "error"):
            raise ValueError(f"{self.name} ended as {self.outcome}")
        if self.outcome == "skipped" and not (self.message or "").strip():
            raise ValueError("message: skipped without a reason")
        return self


class SuiteResults(Shape):
    """Every test of the suite that looked at the guest from inside."""

    tests: Some[SuiteTest]
    in_guest: ClassVar[bool] = True

    def features(self) -> tuple[str, ...]:
        """The files of which something must have passed."""
        return FEATURES

    def refusals(self) -> tuple[str, ...]:
        """The tests that must have passed, but for those that may be left out altogether."""
        return (*REFUSED_READ_ONLY, *REFUSED_DISTURBING)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({test.name for test in self.tests}) != len(self.tests):
            raise ValueError("tests: one comes twice")
        return self

    @model_validator(mode="after")
    def _left_out_for_a_reason(self) -> Self:
        for test in self.tests:
            if test.outcome == "skipped":
                skip = SKIPS.get(test.name)
                if skip is None or test.message != skip.reason:
                    raise ValueError(f"tests: {test.name} was skipped, and nothing allows that")
                if self.in_guest and not skip.guest:
                    raise ValueError(f"tests: {test.name} was skipped in a guest")
        return self

    @model_validator(mode="after")
    def _all_is_shown(self) -> Self:
        passed = {function_of(test.name) for test in self.tests if test.outcome == "passed"}
        files = {name.partition(".py::")[0] for name in passed}
        skipped = {test.name for test in self.tests if test.outcome == "skipped"}
        whole = {function_of(name) for name in skipped if SKIPS[name].whole}
        missing = [feature for feature in self.features() if feature not in files]
        missing += [name for name in self.refusals() if name not in passed | whole]
        if missing:
            raise ValueError(f"tests: none passed of {', '.join(missing)}")
        return self


class HostSuite(SuiteResults):
    """The suite on a host that runs already; one at work is spared what disturbs."""

    in_guest: ClassVar[bool] = False
    read_only: bool

    def features(self) -> tuple[str, ...]:
        """Those that a host at work can bear, or all."""
        return SHOWN_READ_ONLY if self.read_only else super().features()

    def refusals(self) -> tuple[str, ...]:
        """Those that a host at work can bear, or all."""
        return REFUSED_READ_ONLY if self.read_only else super().refusals()


def skips_of_its_image(image: Mapping[str, Any], suite: Mapping[str, Any]) -> str | None:
    """What the suite left out is what a guest of that kind cannot show."""
    for test in suite["tests"]:
        skip = SKIPS.get(test["name"])
        if test["outcome"] == "skipped" and skip is not None and skip.image is not None:
            field, value = skip.image
            if image[field] != value:
                return f"suite.results: {test['name']} was skipped in a guest that is no {value}"
    return None


def spared_when_looked_at(suite: Mapping[str, Any], scenario: tuple[Exchange, ...]) -> str | None:
    """A host that was talked to was not spared what disturbs, and the other way round."""
    if suite["readOnly"] == bool(scenario):
        return "suite.host: readOnly is not what the scenario shows"
    return None
