"""Facts of a run besides its verdict: what was deployed, what it used, what held it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_DEPLOYMENTS = 20
MAX_SERVICES = 50
HEAD = "head"
_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class DeployedImage:
    """Image that a service of the app ran; `digest` is the registry's, empty if there is none."""

    service: str
    image: str
    id: str
    digest: str = ""

    def as_dict(self) -> Mapping[str, str]:
        """Describe it as JSON."""
        return {
            "service": self.service,
            "image": self.image,
            "id": self.id,
            "digest": self.digest,
        }


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment: a published version or `head`, the version its labels tell, its images."""

    version: str
    label: str
    images: tuple[DeployedImage, ...]

    def as_dict(self) -> Mapping[str, object]:
        """Describe it as JSON."""
        services = [one.as_dict() for one in self.images[:MAX_SERVICES]]
        return {"version": self.version, "label": self.label, "services": services}


@dataclass(frozen=True, slots=True)
class ServiceUsage:
    """Most memory that a service of the app used at once, and its processor time."""

    service: str
    memory_peak_bytes: int
    processor_s: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Use of the machine by the app's containers, as Docker told it in `samples` looks.

    `memory_peak_bytes` is that of all containers together. What lived between two looks is not
    in it.
    """

    memory_peak_bytes: int
    processor_s: float
    samples: int
    services: tuple[ServiceUsage, ...]

    def as_dict(self) -> Mapping[str, object]:
        """Describe it as JSON."""
        return {
            "memory_peak_bytes": self.memory_peak_bytes,
            "processor_s": round(self.processor_s, 2),
            "samples": self.samples,
            "services": [
                {
                    "service": one.service,
                    "memory_peak_bytes": one.memory_peak_bytes,
                    "processor_s": round(one.processor_s, 2),
                }
                for one in self.services[:MAX_SERVICES]
            ],
        }


@dataclass(frozen=True, slots=True)
class Overlay:
    """Compose file that the tests put over the recipe's own, and why."""

    file: str
    why: str
    text: str
    sha256: str

    def as_dict(self) -> Mapping[str, str]:
        """Describe it as JSON."""
        return {"file": self.file, "why": self.why, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Deadline:
    """Time that the stages had together; `reached` if they were ended by it."""

    seconds: float
    reached: bool

    def as_dict(self) -> Mapping[str, object]:
        """Describe it as JSON."""
        return {"seconds": self.seconds, "reached": self.reached}


@dataclass(frozen=True, slots=True)
class Times:
    """Wall time of a run in child processes, and in waits for the swarm and the app."""

    programs_s: float
    waits_s: float

    def as_dict(self) -> Mapping[str, float]:
        """Describe them as JSON."""
        return {"programs_s": round(self.programs_s, 2), "waits_s": round(self.waits_s, 2)}


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of a run."""

    deployments: tuple[Deployment, ...] = ()
    usage: Usage | None = None
    overlay: Overlay | None = None
    deadline: Deadline | None = None
    times: Times | None = None

    def as_dict(self) -> Mapping[str, object]:
        """Describe them as keys of the run's JSON."""
        return {
            "images": [one.as_dict() for one in self.deployments[:MAX_DEPLOYMENTS]],
            "usage": self.usage.as_dict() if self.usage else None,
            "overlay": self.overlay.as_dict() if self.overlay else None,
            "deadline": self.deadline.as_dict() if self.deadline else None,
            "times": self.times.as_dict() if self.times else None,
        }

    def rows(self) -> Sequence[tuple[str, list[str]]]:
        """List the rows of the table that tell them: a head, and lines."""
        rows: list[tuple[str, list[str]]] = []
        if self.deployments:
            rows.append(("deployed", [_deployed(one) for one in self.deployments]))
        if self.usage:
            peak = self.usage.memory_peak_bytes / _MIB
            told = f"{peak:.1f} MiB at most, {self.usage.processor_s:.1f} s of processor time"
            rows.append(("used", [told]))
        if self.overlay:
            rows.append(("overlay", [f"{self.overlay.file}: {self.overlay.why}"]))
        return rows


NO_FACTS = Facts()


def _deployed(one: Deployment) -> str:
    images = ", ".join(
        f"{image.service} {image.image} ({(image.digest or image.id)[:19]})"
        for image in one.images[:MAX_SERVICES]
    )
    told = one.version if one.label in ("", one.version) else f"{one.version}, {one.label}"
    return f"{told}: {images}"
