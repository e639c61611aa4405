"""Evidence of a throwaway guest, beside that of every agency."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from agency.transcript.rules.v2.activation import (
    DriftHealed,
    FirstActivation,
    Positive,
    RunningUnit,
    SecondActivation,
    StorePath,
    UnitsState,
)
from agency.transcript.rules.v2.agents_audit import LogKept
from agency.transcript.rules.v2.model import Target
from agency.transcript.rules.v2.rule import (
    Count,
    EventId,
    MatrixId,
    Name,
    ProbeRule,
    Revision,
    Seen,
    Sha256,
    Shape,
    Some,
    Version,
    Yes,
    Zero,
    matches,
)
from agency.transcript.rules.v2.suite import SuiteResults

INCUS: frozenset[Target] = frozenset(("incus",))

BootId = Annotated[str, matches(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "a boot id")]
Megabytes = Annotated[float, Field(gt=0, allow_inf_nan=False, description="MiB")]
PackageVersion = Annotated[Seen, StringConstraints(max_length=200)]

MIN_PACKAGES = 20


class GuestImage(Shape):
    """Image of the guest: Debian from packages and wheels, NixOS from Nix's build."""

    kind: Literal["container", "virtual-machine"]
    kind_reason: Seen
    system: Literal["debian", "nixos"]
    fingerprint: Sha256
    recipe: Sha256
    incus_version: Version
    wheelhouse: Sha256 | None = None
    packages: Annotated[dict[str, PackageVersion], Field(min_length=MIN_PACKAGES)] | None = None
    built: StorePath | None = None

    @model_validator(mode="after")
    def _of_its_system(self) -> Self:
        if self.system == "nixos":
            if self.built is None:
                raise ValueError("built: which path of its store Nix built is not there")
            return self
        for name in ("wheelhouse", "packages"):
            if getattr(self, name) is None:
                raise ValueError(f"{name}: is not there")
        return self


class GuestRunning(Shape):
    """The machine after its first boot; of which kind and image it is, Incus says."""

    kind: Literal["container", "virtual-machine"]
    image: Sha256
    state: Literal["running"]
    failed_units: Annotated[tuple[str, ...], Field(strict=False, max_length=0)]
    boot_id: BootId
    network_devices: Annotated[tuple[str, ...], Field(strict=False, max_length=0)]
    running_after_s: Positive


class GuestPackages(Shape):
    """Packages that the guest's own package managers list."""

    system: Annotated[dict[str, PackageVersion], Field(min_length=MIN_PACKAGES)]
    python: Annotated[dict[str, PackageVersion], Field(min_length=MIN_PACKAGES)]
    of: StorePath | None = None  # of NixOS: whose closure they are

    @model_validator(mode="after")
    def _holds_the_agency(self) -> Self:
        if "agency" not in self.python:
            raise ValueError("python: the agency itself is not installed")
        return self


class DatabaseVersions(Shape):
    """The databases of the guest."""

    server: Version
    homeserver_schema: Count
    control_schema: Revision


class ResourcesPeak(Shape):
    """Peak use of resources by the guest, as its host saw it."""

    memory_mb: Megabytes
    memory_peak_mb: Megabytes
    memory_peak_by: Literal["cgroup", "looks"]  # the kernel, or the looks of this run
    cpu_s: Positive
    processes: Count

    @model_validator(mode="after")
    def _peak(self) -> Self:
        if self.memory_peak_mb < self.memory_mb:
            raise ValueError("memoryPeakMb: less than memoryMb")
        return self


class AuditEnd(Shape):
    """End of the audit log."""

    count: Count
    head: Sha256


class RebootSurvived(Shape):
    """The whole guest before and after a reboot."""

    boot_id_before: BootId
    boot_id_after: BootId
    state: Literal["running"]
    units: Some[RunningUnit]
    firewall_before: Sha256  # of the rules for what agents send
    firewall_after: Sha256
    audit_before: AuditEnd
    kept: AuditEnd  # the row that was the last one before, read again after
    chain_verified: Yes
    agents_audit_kept: Some[LogKept]
    user_id: MatrixId  # whose access token from before still opens the door
    room_members_before: Some[MatrixId]
    room_members_after: Some[MatrixId]
    event_id: EventId  # a message from before, read again after
    ready_after_s: Positive

    @model_validator(mode="after")
    def _booted(self) -> Self:
        if self.boot_id_before == self.boot_id_after:
            raise ValueError("bootIdAfter: it did not boot anew")
        if self.firewall_before != self.firewall_after:
            raise ValueError("firewallAfter: not the rules from before")
        if self.kept != self.audit_before:
            raise ValueError("kept: not the end that the audit log had")
        if set(self.room_members_before) != set(self.room_members_after):
            raise ValueError("roomMembersAfter: not those from before")
        return self


class GuestGone(Shape):
    """Absence of the guest after the run, unless a person asked to keep it."""

    name: Name
    present: bool
    kept: bool
    images_half_made: Zero

    @model_validator(mode="after")
    def _as_asked(self) -> Self:
        if self.present != self.kept:
            raise ValueError("present: must be what was asked for")
        return self


def _rule(
    name: str, description: str, shape: type[Shape], targets: frozenset[Target] = INCUS
) -> ProbeRule:
    return ProbeRule(name, description, shape, targets)


RULES = (
    _rule(
        "guest.image", "What the guest was made from, by digests, and why it is one.", GuestImage
    ),
    _rule("guest.running", "systemd runs, no unit failed, no network device.", GuestRunning),
    _rule("guest.packages", "Every package in the guest with its version.", GuestPackages),
    _rule(
        "activation.first",
        "The exported definitions were laid down: each file's digest, each unit's state.",
        FirstActivation,
    ),
    _rule(
        "activation.again",
        "A second activation changes no file and starts no unit.",
        SecondActivation,
    ),
    _rule("activation.drift", "What was changed by hand is found and healed.", DriftHealed),
    _rule(
        "units.state",
        "Every unit of the definitions is active, with its numbers.",
        UnitsState,
        INCUS | {"ssh"},
    ),
    _rule("database.versions", "The database server and both schemas.", DatabaseVersions),
    _rule(
        "suite.results",
        "Every test of tests/guest, one by one; none failed, and every claim was shown.",
        SuiteResults,
    ),
    _rule("resources.peak", "Memory, CPU and processes of the whole guest.", ResourcesPeak),
    _rule("reboot.survived", "The guest comes back after a reboot, nothing lost.", RebootSurvived),
    _rule("guest.gone", "The guest is gone, or kept because that was asked for.", GuestGone),
)
