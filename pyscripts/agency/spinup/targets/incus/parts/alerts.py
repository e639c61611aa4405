"""Part `alerts`: a unit fails, Prometheus and Alertmanager say so, and the control room is told.

a unit fails ─▶ (the rest of the run, while the rule waits) ─▶ fired ─▶ one message
                              Alertmanager forgets, and delivers again ─▶ no other
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agency import naming
from agency.clock import Clock
from agency.guests import Guest
from agency.machine import units
from agency.secrets import ALERTMANAGER_TOKEN, MATRIX_HS_TOKEN
from agency.spinup.probes import alerts
from agency.spinup.record import Evidence
from agency.spinup.targets.incus.parts import Part, Shop

RULE = "UnitFailed"
# No name of the agency's own: its activation would put such a unit right.
TRIAL = "trial-of-alerts.service"
MANAGER = "alertmanager.service"
UNITS = (
    *(MANAGER, "prometheus.service", "prometheus-blackbox-exporter.service"),
    *("prometheus-node-exporter.service", "prometheus-process-exporter.service"),
)
# Who may connect to the ports of the way: a stranger may not.
STRANGER, CLIENT = "nobody", "prometheus"
# Not before: a restore in place at the end of the scenario would lose the message.
_BEGIN = "records"
_NOTES = "/var/lib/alertmanager/nflog"
_ASKED_S, _FIRED_S, _TOLD_S, _AGAIN_S = 20.0, 90.0, 30.0, 30.0
_CONNECT_S = 10.0
# It prints the outcome as evidence has it; an argument is the port.
_CONNECT = (
    "import socket, sys\n"
    "try:\n"
    "    socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=5).close()\n"
    "    print('connected')\n"
    "except ConnectionRefusedError:\n"
    "    print('refused')\n"
)


@dataclass(slots=True)
class AlertsPart(Part):
    """See Part."""

    name: ClassVar[str] = "alerts"
    unpacked: ClassVar[tuple[str, ...]] = (
        *("prometheus", "prometheus-alertmanager", "prometheus-blackbox-exporter"),
        *("prometheus-node-exporter", "prometheus-process-exporter"),
    )
    exported: ClassVar[bool] = True
    clock: Clock = field(default_factory=Clock)
    failed_at: str | None = None

    def adapt(self, document: MutableMapping[str, Any]) -> None:
        """See Part: a host whose alerts are told; Alertmanager's token is made with the others."""
        services = document.get("services") or {}
        services["observability"] = {**(services.get("observability") or {}), "enable": True}
        document["services"] = services

    async def at(self, step: str, shop: Shop) -> None:
        """See Part: the rule waits before it says so, and the run goes on meanwhile."""
        if step == _BEGIN:
            await shop.guest.run("systemd-run", "--quiet", f"--unit={TRIAL}", "/bin/false")
            self.failed_at = self.clock.now_iso()
        if step == "login":
            await shop.run.probe(alerts.PROBE, lambda: self._delivered(shop))
            await shop.guest.run("systemctl", "reset-failed", TRIAL)

    async def _delivered(self, shop: Shop) -> Evidence:
        """Follow the alert to the room, and have it delivered once more.

        Raises:
            AgencyError: the guest cannot be asked.
        """
        assert shop.examination is not None  # people have accounts by then
        guest, subject = shop.guest, shop.examination.subject
        bot = naming.matrix_id(naming.CONTROL_LOCALPART, shop.instance.domain)
        operator = shop.examination.people[0]
        room = await operator.join(subject.control_room)
        shown = (await units.show(guest, (TRIAL,)))[TRIAL]
        async with _monitoring(shop) as way:
            asked = await alerts.targets(way, clock=self.clock, within_s=_ASKED_S)
            seen = await alerts.fired(
                way, RULE, {"name": TRIAL}, clock=self.clock, within_s=_FIRED_S
            )
            told = await alerts.wait_for_messages(
                operator, room, bot, TRIAL, clock=self.clock, within_s=_TOLD_S
            )
            again: Evidence = {}
            if told and seen["alertmanager"] is not None:
                await _forget(guest)
                again = await alerts.given_again(
                    way, seen["alertmanager"], clock=self.clock, within_s=_AGAIN_S
                )
            refused = await alerts.refusals(
                way, shop.secrets.get(ALERTMANAGER_TOKEN), shop.secrets.get(MATRIX_HS_TOKEN)
            )
        running = await units.show(guest, UNITS)
        return {
            "units": [unit.as_dict() for unit in running.values()],
            "trial": {"unit": TRIAL, "active": shown.active, "failedAt": self.failed_at},
            "targets": asked,
            **seen,
            "roomId": room,
            "messages": await alerts.messages(operator, room, bot, TRIAL),
            "again": again,
            **refused,
            "connections": await _connections(guest),
        }


def make() -> AlertsPart:
    """See make_part."""
    return AlertsPart()


@contextlib.asynccontextmanager
async def _monitoring(shop: Shop) -> AsyncIterator[alerts.Monitoring]:
    """Reach the programs on the way by forwarded ports, as the guest's root does."""
    assert shop.examination is not None
    subject = shop.examination.subject
    async with (
        shop.guest.forward(naming.SERVICE_PORTS["prometheus"]) as prometheus,
        shop.guest.forward(naming.SERVICE_PORTS["alertmanager"]) as manager,
    ):
        yield alerts.Monitoring(
            subject.session,
            f"http://127.0.0.1:{prometheus}",
            f"http://127.0.0.1:{manager}",
            subject.control_url,
        )


async def _forget(guest: Guest) -> None:
    """Have Alertmanager lose its notes on what it has delivered."""
    await guest.run("systemctl", "stop", MANAGER)
    await guest.run("rm", "--force", _NOTES)
    await guest.run("systemctl", "start", MANAGER)


async def _connections(guest: Guest) -> list[Evidence]:
    """Try the ports of the way as a stranger, and as one who may connect."""
    found = []
    for service in ("alertmanager", "control"):
        for user in (STRANGER, CLIENT):
            argv = ("runuser", "--user", user, "--", "python3", "-I", "-c", _CONNECT)
            said = await guest.run(*argv, str(naming.SERVICE_PORTS[service]), timeout_s=_CONNECT_S)
            outcome = said.decode().strip()
            found.append({"service": service, "user": user, "outcome": outcome})
    return found
