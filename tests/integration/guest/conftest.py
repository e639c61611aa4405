"""Real Incus, real images: what is made once, and cleaning up whatever a test leaves.

The first run builds an image (about a minute). AGENCY_TEST_GUEST_DIR names a directory in which
image and wheels stay from run to run; AGENCY_REQUIRE_GUEST makes missing parts an error, not a
skip. Each worker of pytest-xdist has an Incus of its own, and images of its own: tests look for
what is left of a build.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from agency.children import kill_marked, processes_with_marker
from agency.clock import new_id
from agency.guests.images.prepare import Materials, hold_materials
from agency.guests.images.recipe import ImageRecipe, debian_architecture, default_recipe
from agency.guests.incus.client import Incus
from agency.guests.incus.daemon import answers, connect_incus, own_daemon
from agency.guests.incus.model import InstanceSpec, Kind, Limits
from agency.guests.machines.janitor import Owner
from agency.guests.machines.machine import Guest
from agency.guests.machines.placement import bring_in, choose_pool

ROOT = Path(__file__).resolve().parents[3]
REQUIREMENTS = ROOT / "requirements" / "guest.txt"


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "guests are made by root"
    programs = ("mmdebstrap", "incus", "unshare")
    absent = [name for name in programs if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = _missing()
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker(pytest.mark.needs_root)
        item.add_marker(pytest.mark.guest)
        # The first whole run builds an image, which takes minutes on a slow network.
        item.add_marker(pytest.mark.timeout(1800 if item.path.parent.name == "spinup" else 900))
        if item.get_closest_marker("thorough") and not os.environ.get("AGENCY_THOROUGH"):
            item.add_marker(pytest.mark.skip(reason="for `make test-guest-thorough`"))
        if reason is not None and not os.environ.get("AGENCY_REQUIRE_GUEST"):
            item.add_marker(pytest.mark.skip(reason=reason))


@dataclass(frozen=True)
class Place:
    """Where the tests keep what would be in a user's home and in /var/lib."""

    materials: Path
    state: Path
    environ: dict[str, str]


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """Directories that containers' users can pass through; all of it is removed in the end."""
    with tempfile.TemporaryDirectory(prefix="agency-test-", dir="/var/tmp") as name:
        base = Path(name)
        base.chmod(0o711)
        kept = os.environ.get("AGENCY_TEST_GUEST_DIR")
        (base / "state").mkdir()
        yield Place(
            Path(kept) / os.environ.get("PYTEST_XDIST_WORKER", "") if kept else base / "materials",
            base / "state" / "agency",
            {
                "AGENCY_INCUS_DIR": str(base / "incus"),
                "INCUS_SOCKET": str(base / "no-incus-of-the-host"),
                "XDG_STATE_HOME": str(base / "state"),
                "AGENCY_SANDBOX_DIR": str(base / "state" / "sandbox"),
            },
        )
        left = own_daemon({"AGENCY_INCUS_DIR": str(base / "incus")})
        assert not answers(left.socket), "the tests left an Incus running"


@pytest.fixture(scope="session")
def small_recipe() -> ImageRecipe:
    """What is built fast."""
    packages = ("systemd", "systemd-sysv", "dbus", "python3-minimal")
    return ImageRecipe(architecture=debian_architecture(), packages=packages, disabled=())


@asynccontextmanager
async def whole_materials(place: Place) -> AsyncIterator[Materials]:
    async with hold_materials(
        place.materials,
        default_recipe(),
        requirements=REQUIREMENTS,
        source=ROOT,
        marker="agency-tests",
    ) as materials:
        yield materials


@pytest.fixture(scope="session")
def prepared(place: Place) -> Place:
    """Image and wheelhouse are there."""

    async def prepare() -> None:
        async with whole_materials(place):
            pass

    asyncio.run(prepare())
    return place


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(place: Place) -> AsyncIterator[Incus]:
    """An Incus of our own, for a module."""
    async with connect_incus(place.environ) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def materials(prepared: Place) -> AsyncIterator[Materials]:
    async with whole_materials(prepared) as materials:
        yield materials


def spec_for(owner: Owner, materials: Materials, pool: str, **limits: int) -> InstanceSpec:
    return InstanceSpec(
        owner.instance,
        Kind.CONTAINER,
        materials.image.fingerprint,
        pool,
        Limits(**limits),
        owner.labels(),
    )


@asynccontextmanager
async def made(
    client: Incus, place: Place, materials: Materials, **limits: int
) -> AsyncIterator[Guest]:
    """A running guest, destroyed in the end."""
    owner = Owner(place.state, new_id("run"))
    await bring_in(client, materials.image)
    spec = spec_for(owner, materials, await choose_pool(client), **limits)
    guest = await Guest.create(client, spec)
    try:
        await guest.wait_running(timeout_s=90)
        yield guest
    finally:
        await guest.destroy()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest(client: Incus, place: Place, materials: Materials) -> AsyncIterator[Guest]:
    """One guest for the tests of a module, which leave it as they found it."""
    async with made(client, place, materials) as guest:
        yield guest


@pytest.fixture
def marker() -> Iterator[str]:
    """The marker of a test's programs; none of them may be left."""
    marker = new_id("test")
    yield marker
    left = processes_with_marker(marker)
    kill_marked(marker, 1)
    assert left == ()
