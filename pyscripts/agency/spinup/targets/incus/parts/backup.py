"""Part `backup`: after the conversation a backup, a damage, and its restoration in place.

timers start the units: a snapshot, verified ─▶ message and store are lost ─▶ restore ─▶ a command
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar

from agency.clock import iso, new_id
from agency.guests import PROGRAM, Guest, GuestFile
from agency.machine import MachineError, units
from agency.matrix import MatrixSession, Person, client_path
from agency.secrets import MATRIX_HS_TOKEN
from agency.spinup.examination import Subject
from agency.spinup.probes import control as control_probes
from agency.spinup.probes.backup import PROBE
from agency.spinup.record import Evidence
from agency.spinup.targets.incus.parts import Part, Shop

UNITS = ("agency-backup.service", "agency-backup-verify.service")
REPOSITORY = "/var/backup/agency/repository"
_SETTINGS = PurePosixPath("/etc/agency/backup.json")
_DATABASE = "matrix-synapse"
_UNIT_S, _RESTORE_S = 120.0, 180.0
_POLL_S = 0.25
# A host's timer comes at night; all else of it is as it is there.
_SOON = b"[Timer]\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=100ms\n"
_PROPERTIES = (
    *("Id", "Result", "CapabilityBoundingSet", "User"),
    *("ActiveState", "ExecMainStartTimestamp", "ExecMainExitTimestampMonotonic"),
)
_TEXT = "Before the backup"
_DELETE = "DELETE FROM event_json WHERE event_id = :'event';"
_COUNT = "SELECT count(*) FROM event_json WHERE event_id = :'event';"
_PSQL = (
    *("runuser", "--user", "postgres", "--", "psql", "--no-psqlrc", "--tuples-only"),
    *("--no-align", "--host=/run/postgresql", "--set=ON_ERROR_STOP=1", "--file=-"),
)


@dataclass(slots=True)
class BackupPart(Part):
    """See Part."""

    name: ClassVar[str] = "backup"
    packages: ClassVar[tuple[str, ...]] = ("restic",)
    exported: ClassVar[bool] = True

    def adapt(self, document: MutableMapping[str, Any]) -> None:
        """See Part: a host that is backed up; its password is made with the other secrets."""
        document["backup"] = {"repository": REPOSITORY}

    async def at(self, step: str, shop: Shop) -> None:
        """See Part."""
        if step == "scenario":
            await shop.run.probe(PROBE, lambda: restored(shop))


def make() -> BackupPart:
    """See make_part."""
    return BackupPart()


async def restored(shop: Shop) -> Evidence:
    """Back up, lose a message and the store, restore, and see that all goes on.

    Raises:
        AgencyError: one of these cannot be done, or the agency does not come back.
    """
    assert shop.examination is not None  # people have accounts by then
    guest, subject = shop.guest, shop.examination.subject
    operator = shop.examination.people[0]
    room = await operator.join(subject.control_room)
    event = await operator.say(room, _TEXT, new_id("say"))
    settings = json.loads(await guest.read(_SETTINGS))
    ran = [await _run_by_timer(guest, unit) for unit in UNITS]
    lost = await _damage(guest, event, _store(settings))
    await _restore(guest, settings["host"])
    ready = await _ready(subject)
    again = _anew(subject, operator)
    read = await again.request("GET", client_path("rooms", room, "event", event))
    rows = int(await _query(guest, _COUNT, event))
    return {
        "units": ran,
        "lost": lost,
        "found": {"eventId": event, "rows": rows, "body": read["content"].get("body")},
        "ready": ready["ready"],
        "command": await _command(again, room),
        **await shop.observe(PROBE, {}),
    }


def _store(settings: Mapping[str, Any]) -> str:
    return str(next(store["path"] for store in settings["stores"] if store["audited"]))


async def _run_by_timer(guest: Guest, unit: str) -> Evidence:
    """Have a unit's timer start it in a moment; wait for its end, and tell what systemd says.

    Raises:
        MachineError: the timer does not start it in time, or the unit fails.
    """
    timer = f"{unit.removesuffix('.service')}.timer"
    place = PurePosixPath(f"/run/systemd/system/{timer}.d/10-soon.conf")
    await guest.write({place: GuestFile(_SOON)})
    await guest.run("systemctl", "daemon-reload")
    await guest.run("systemctl", "start", timer)
    facts = await _ended(guest, unit)
    listed = await guest.run("systemctl", "list-timers", "--output=json", timer)
    await guest.run("systemctl", "stop", timer)
    await guest.run("rm", "--recursive", str(place.parent))
    await guest.run("systemctl", "daemon-reload")
    return {
        "name": facts["Id"],
        "result": facts["Result"],
        "user": facts["User"],
        "capabilities": facts["CapabilityBoundingSet"].split(),
        "startedAt": _moment(facts["ExecMainStartTimestamp"]),
        "timer": {"name": timer, "firedAt": last_fired(listed)},
    }


async def _ended(guest: Guest, unit: str) -> Mapping[str, str]:
    """Wait for a unit that is started once, and has ended well."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _UNIT_S
    while True:
        facts = await _show(guest, unit, _PROPERTIES)
        has_ended = facts["ExecMainExitTimestampMonotonic"] not in ("", "0")
        if facts["ActiveState"] == "failed":
            raise await units.failure(guest, (unit,))
        if has_ended and facts["ActiveState"] == "inactive":
            return facts
        if loop.time() > until:
            where = f"{guest.name}: {unit}"
            raise MachineError(f"its timer did not run it within {_UNIT_S:g} s", where=where)
        await asyncio.sleep(_POLL_S)


async def _show(guest: Guest, unit: str, properties: Iterable[str]) -> Mapping[str, str]:
    named = f"--property={','.join(properties)}"
    shown = await guest.run("systemctl", "show", "--timestamp=unix", named, unit)
    return dict(line.partition("=")[::2] for line in shown.decode().splitlines())


def last_fired(listed: bytes) -> str | None:
    """Read when the one timer of a list last fired, by the second as systemd shows the start."""
    (timer,) = json.loads(listed)
    return iso(float(timer["last"] // 1_000_000)) if timer["last"] else None


def _moment(shown: str) -> str:
    """Return a time that systemd shows as seconds, `@1700000000`; empty where it shows none."""
    return iso(float(shown.removeprefix("@"))) if shown.startswith("@") else ""


async def _damage(guest: Guest, event: str, store: str) -> Evidence:
    """Lose a message in the homeserver's database, and the control plane's store."""
    await _query(guest, _DELETE, event)
    files = (f"{store}{suffix}" for suffix in ("", "-wal", "-shm"))
    await guest.run("rm", "--force", "--", *files)
    left = await guest.look("test", "-e", store)
    return {
        "eventId": event,
        "rowsLeft": int(await _query(guest, _COUNT, event)),
        "store": store,
        "storeLeft": left.exit_status == 0,
    }


async def _query(guest: Guest, sql: str, event: str) -> str:
    """Run SQL about an event in the homeserver's database."""
    argv = (*_PSQL, f"--set=event={event}", _DATABASE)
    return (await guest.run(*argv, stdin=sql.encode())).decode().strip()


async def _restore(guest: Guest, host: str) -> None:
    """Restore the newest snapshot by hand, as root does it on a host."""
    argv = (PROGRAM, "backup", "restore", "latest", "--in-place", "--yes-replace", host, "--json")
    done = await guest.look(*argv, timeout_s=_RESTORE_S)
    if done.exit_status != 0:
        said = done.stderr.decode(errors="replace").splitlines()
        raise MachineError(
            f"exit status {done.exit_status}: {said[-1][:500] if said else 'no message'}",
            where=f"{guest.name}: agency backup restore",
            log_tail=tuple(said[-30:]),
        )


async def _ready(subject: Subject) -> Evidence:
    token = subject.secret(MATRIX_HS_TOKEN)
    return await control_probes.ready(subject.session, subject.control_url, token)


def _anew(subject: Subject, person: Person) -> Person:
    """Make the same person with the same log-in, who has not read anything yet.

    What was read names places in a stream of events that is older now.
    """
    homeserver = MatrixSession(subject.homeserver_url, subject.session, person.access_token)
    return Person(homeserver, person.user_id)


async def _command(person: Person, room: str) -> Evidence:
    """Give a command, which adds a row to the audit log."""
    said = "!agency ping"
    person.listen_in(room)
    await person.sync()
    reply = await person.ask(room, said, new_id("say"))
    return {
        "said": said,
        "eventId": reply.command,
        "replyId": reply.event_id,
        "ok": reply.ok,
    }
