"""Real Incus, real images: what is made once, and cleaning up whatever a test leaves.

The first run builds an image (about a minute). AGENCY_TEST_GUEST_DIR names a directory in which
image and wheels stay from run to run; AGENCY_REQUIRE_GUEST makes missing parts an error, not a
skip. Each worker of pytest-xdist has an Incus of its own, and images of its own: tests look for
what is left of a build. Some files share a guest, and files begin in a set order: see `sharing`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sharing

from agency.children import kill_marked, processes_with_marker
from agency.clock import new_id
from agency.guests.images.debs import hold_debs
from agency.guests.images.prepare import Materials, hold_materials
from agency.guests.images.recipe import ImageRecipe, debian_architecture, default_recipe
from agency.guests.incus.client import Incus
from agency.guests.incus.daemon import answers, connect_incus, own_daemon
from agency.guests.incus.model import InstanceSpec, Kind, Limits
from agency.guests.install import install, install_debs
from agency.guests.machines.janitor import Owner
from agency.guests.machines.machine import Guest
from agency.guests.machines.placement import bring_in, choose_pool

ROOT = Path(__file__).resolve().parents[3]
REQUIREMENTS = ROOT / "requirements" / "guest.txt"
NEXT = pytest.StashKey[pytest.Item | None]()


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
    items.sort(key=lambda item: sharing.rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return sharing.GuestScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    item.config.stash[NEXT] = nextitem


@dataclass(frozen=True)
class Place:
    """Where the tests keep what would be in a user's home and in /var/lib.

    Attributes:
        materials: The cache of one worker: what spin-ups use, and must leave whole.
        apart: A cache for all workers, of images that no spin-up uses. A cache keeps two images:
            a third one would be built anew in each run of the tests.
    """

    materials: Path
    apart: Path
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
            (Path(kept) if kept else base) / "apart",
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unpack(place: Place, materials: Materials) -> Callable[..., Awaitable[None]]:
    """Gives a guest the files of Debian's packages, which are not configured there."""

    async def unpack(guest: Guest, *packages: str) -> None:
        async with hold_debs(
            place.materials,
            default_recipe(),
            materials.image,
            packages,
            unpacked=frozenset(packages),
            marker="agency-tests",
        ) as debs:
            await install_debs(guest, debs)

    return unpack


def spec_for(owner: Owner, materials: Materials, pool: str, **limits: int) -> InstanceSpec:
    return InstanceSpec(
        owner.instance,
        Kind.CONTAINER,
        materials.image.fingerprint,
        pool,
        Limits(**limits),
        owner.labels(),
    )


async def make(client: Incus, place: Place, materials: Materials, **limits: int) -> Guest:
    """Make a guest and wait until it runs; nothing of it is left if it does not."""
    owner = Owner(place.state, new_id("run"))
    await bring_in(client, materials.image)
    spec = spec_for(owner, materials, await choose_pool(client), **limits)
    guest = await Guest.create(client, spec)
    try:
        await guest.wait_running(timeout_s=90)
    except BaseException:
        await guest.destroy()
        raise
    return guest


@pytest.fixture(scope="session")
def shared(place: Place) -> Iterator[sharing.Shared]:
    """The shared guest, none at first; one that a run left which ended early is destroyed."""
    shared = sharing.Shared()
    yield shared

    async def end() -> None:
        async with connect_incus(place.environ) as client:
            await shared.end(client)

    if shared.name is not None:
        asyncio.run(end())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest(
    request: pytest.FixtureRequest,
    client: Incus,
    place: Place,
    materials: Materials,
    shared: sharing.Shared,
) -> AsyncIterator[Guest]:
    """One guest for the tests of a module; one that others share is left as it was found."""
    nodeid = request.node.nodeid
    if not sharing.is_sharing(nodeid):
        guest = await make(client, place, materials)
        try:
            yield guest
        finally:
            await guest.destroy()
        return
    guest = await take(client, place, materials, shared)
    yield guest
    found = await shared.changes(guest)
    follower = request.config.stash.get(NEXT, None)
    if found or follower is None or not sharing.is_sharing(follower.nodeid):
        await shared.end(client)
    told = "\n".join(found[:40])
    assert not found, f"{nodeid} left the shared guest otherwise than it was:\n{told}"


async def take(client: Incus, place: Place, materials: Materials, shared: sharing.Shared) -> Guest:
    """The shared guest, made where there is none."""
    if shared.name is None:
        guest = await make(client, place, materials)
        shared.name = guest.name
        try:
            await install(guest, materials)
            shared.before = await sharing.state_of(guest)
        except BaseException:
            await shared.end(client)
            raise
    instance = await client.instance(shared.name)
    assert instance is not None, "somebody destroyed it"
    return Guest.of(client, instance)


@pytest.fixture
def marker() -> Iterator[str]:
    """The marker of a test's programs; none of them may be left."""
    marker = new_id("test")
    yield marker
    left = processes_with_marker(marker)
    kill_marked(marker, 1)
    assert left == ()
