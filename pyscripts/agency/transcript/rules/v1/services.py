"""The units that an agency consists of, by their names."""

from __future__ import annotations

HOMESERVER_UNIT = "matrix-synapse.service"
CONTROL_UNIT = "agency-control.service"
FIREWALL_UNIT = "nftables.service"
SERVICES = {"homeserver": HOMESERVER_UNIT, "control": CONTROL_UNIT}

# What runs on every machine of ours, Debian or NixOS, whatever its instance says. A machine has
# more; its definitions say what. These are what evidence cannot do without.
ALWAYS_RUNNING = (
    FIREWALL_UNIT,
    "agency-audit.socket",
    CONTROL_UNIT,
    HOMESERVER_UNIT,
    "postgresql.target",
)
# What runs on every machine and ends.
ALWAYS_ENDING = ("agency-issued.service",)
