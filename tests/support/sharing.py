"""One guest for several files of tests, and the order in which workers take the files."""

from __future__ import annotations

from dataclasses import dataclass, field

from xdist.scheduler.loadfile import LoadFileScheduling

from agency.guests.incus.client import Incus
from agency.guests.machines.machine import Guest

FOLDER = "tests/integration/guest"
# Files whose tests leave a guest as they found it, with the project installed in it. A file that
# reboots a guest, destroys it, or activates in it has one alone.
SHARING = (
    "ssh/test_machine.py",
    "test_sandbox_timer.py",
    "test_sharing.py",
    "test_systemd_helpers.py",
    "test_systemd_runtime.py",
)
# Files that take about a minute or more, longest first: one that began last would keep one worker
# busy while the other has nothing left.
LONG = (
    "spinup/test_cold_and_cached.py",  # it sees an empty cache only if it is the first
    "spinup/test_defects.py",
    "spinup/test_profile.py",
    "spinup/test_recipes_profile.py",
    "test_recipe_run.py",
    "ssh/test_target.py",
    "spinup/test_interruptions.py",
    *SHARING,
    "test_vm_image.py",
    "test_image.py",
    "test_activation.py",
    "test_oidc.py",
    "test_lifecycle.py",
    "spinup/test_lease.py",
    "test_machine.py",
)

# All files of the root file system, so not those in memory, but for what a running system writes by
# itself; contents where people configure; units, as they are and as they are defined; users.
_WRITTEN = (
    *("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log", "/var/cache/ldconfig"),
    *("/var/lib/systemd", "/var/lib/private", "/var/lib/nginx", "/etc/ld.so.cache"),
    "/etc/*-",  # the accounts as they were before the last change
)
_LOOK = f"""
set -eu
export LC_ALL=C
find / -xdev \\( {" -o ".join(f"-path '{path}'" for path in _WRITTEN)} \\) -prune \\
  -o -type d -printf '%p %m %U %G\\n' -o -printf '%p %y %s %m %U %G\\n'
find /etc /usr/local /run/systemd/system -xdev -type f \\
  ! -path /etc/ld.so.cache ! -path '/etc/*-' -exec sha256sum {{}} +
find /run -mindepth 1 -maxdepth 1 -type d -printf '%p\\n'
systemctl list-unit-files --no-legend --no-pager --plain | awk '{{print $1, $2}}'
systemctl list-units --all --state=active,failed,activating --type=service,socket,timer,path \\
  --no-legend --no-pager --plain | awk '{{print $1, $2, $3, $4}}'
getent passwd
getent group
"""


def in_folder(nodeid: str) -> str:
    """Return the file of a test, as the lists above name it."""
    return nodeid.split("::", 1)[0].removeprefix(f"{FOLDER}/")


def rank(nodeid: str) -> int:
    """Return the place of a test's file in the order; short files stay as they are."""
    file = in_folder(nodeid)
    return LONG.index(file) if file in LONG else len(LONG)


def is_sharing(nodeid: str) -> bool:
    """Return whether a test is in one of the files that share a guest."""
    return in_folder(nodeid) in SHARING


class GuestScheduling(LoadFileScheduling):
    """Order of xdist in which the files that share a guest stay on one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return "shared guest" if is_sharing(nodeid) else super()._split_scope(nodeid)


async def state_of(guest: Guest) -> frozenset[str]:
    """Return what a file of tests must leave as it was, one fact an entry."""
    return frozenset((await guest.run("sh", "-c", _LOOK, timeout_s=120)).decode().splitlines())


@dataclass
class Shared:
    """The guest that files share, by its name: each file has an event loop and a client of its own.

    Attributes:
        name: None while there is no such guest.
        before: Its state when it was made.
    """

    name: str | None = None
    before: frozenset[str] = field(default_factory=frozenset)

    async def end(self, client: Incus) -> None:
        """Destroy the guest, if there is one."""
        if self.name is not None:
            instance = await client.instance(self.name)
            self.name = None
            if instance is not None:
                await Guest.of(client, instance).destroy()

    async def changes(self, guest: Guest) -> list[str]:
        """Return what differs from the state at first, for people: with + or - before it."""
        after = await state_of(guest)
        gone, new = self.before - after, after - self.before
        return [f"- {line}" for line in sorted(gone)] + [f"+ {line}" for line in sorted(new)]
