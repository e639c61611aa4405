"""Settings of the machine's backup, for the control plane."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from agency.settings import Strict


class BackupSettings(Strict):
    """Unit that makes a backup, and the file in which its last success stands."""

    unit: str = Field(default="agency-backup.service", pattern=r"^[a-z0-9-]+\.service$")
    report: Path = Path("/var/lib/agency-metrics/agency-backup.prom")
    max_age_hours: int = Field(default=26, ge=1, description="after which the newest is late")
