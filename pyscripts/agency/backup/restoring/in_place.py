"""Restore in place: a machine's state becomes that of a snapshot.

    refuse ─▶ extract, compare ─▶ stop services ─▶ hold the store ─▶ databases, stores, trees
           ─▶ count, verify the audit log ─▶ write down ─▶ start services

Until the services stop nothing changes. Interrupted later, the same command does it again.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from agency.backup.auditing import log_of_dump
from agency.backup.manifest import AuditHead, Included
from agency.backup.plan import Kind
from agency.backup.restoring.extract import Extracted, Source, extract, find_source
from agency.backup.restoring.guards import refuse_newer
from agency.backup.restoring.putting import Owners, put_store, put_tree
from agency.backup.restoring.services import Services, services, start_all, stop_all
from agency.backup.settings import BackupSettings
from agency.backup.sources.postgresql import Databases
from agency.backup.sources.sqlite import rows_of
from agency.backup.sources.trees import survey
from agency.backup.verify import LATEST
from agency.chain import Head
from agency.clock import Clock
from agency.control import verify_database
from agency.errors import BadInputError, InternalError, PrerequisiteError, UsageError
from agency.files import write_atomically
from agency.locks import only_one
from agency.settings import Strict
from agency.store import Holder, hold, parse_url

RECORD = "restored.json"
_WORK = "restore"
_STOPPED = "stopped.json"


class RestoredPart(Strict):
    """A part that was put back: rows of each table, or files, when it was copied and now."""

    kind: Kind
    name: str
    before: dict[str, int]
    after: dict[str, int]


class Restored(Strict):
    """A restore in place that was completed."""

    snapshot: str
    instance: str
    host: str
    at: float
    created_at: float
    parts: tuple[RestoredPart, ...]
    audit_before: AuditHead | None
    audit_after: AuditHead | None
    started: tuple[str, ...]


async def restore_in_place(
    settings: BackupSettings,
    clock: Clock,
    *,
    replace: str,
    which: str = LATEST,
    from_instance: str | None = None,
    reached: Services | None = None,
) -> Restored:
    """Replace this machine's state by a snapshot's; `replace` must name this machine's host.

    Raises:
        UsageError: `replace` names another host. PrerequisiteError: a service cannot be stopped, a
            process holds a store or a database, or there is no room. BadInputError: the snapshot is
            damaged, of another instance, or not as its manifest says once it is restored.
    """
    if replace != settings.host:
        raise UsageError(
            f"this machine is {settings.host!r}, not {replace!r}",
            where="--yes-replace",
            hint="a restore in place overwrites what the machine has: name the machine",
        )
    source = find_source(settings, which, from_instance)
    refuse_newer(source.manifest)
    busy = PrerequisiteError(
        "another backup or restore runs on this machine", where=str(settings.state_dir)
    )
    with only_one(settings.state_dir / "lock", busy, hint="run this as root"):
        _refuse_unknown(settings, source)
        work = settings.state_dir / _WORK
        if work.exists() and not _is_of(work, source):
            shutil.rmtree(work)
        extracted = extract(settings, source, work, copies=2)
        async with AsyncExitStack() as stack:
            if reached is None:
                reached = await stack.enter_async_context(services(settings.units))
            record = settings.state_dir / _STOPPED
            ran = await stop_all(reached, settings.units, record)
            done = await _put_back(settings, extracted, clock, ran)
            write_atomically(
                settings.state_dir / RECORD, done.model_dump_json().encode() + b"\n", mode=0o600
            )
            shutil.rmtree(work)
            await start_all(reached, ran)
            record.unlink(missing_ok=True)
    return done


def _is_of(work: Path, source: Source) -> bool:
    marker = work / ".agency-restore"
    return marker.is_file() and marker.read_text().strip() == source.snapshot.id


def _refuse_unknown(settings: BackupSettings, source: Source) -> None:
    """Refuse parts that this machine's settings do not name: nobody would know their services."""
    server = settings.server
    known = {
        *((Kind.STORE, str(one.path)) for one in settings.stores),
        *((Kind.DATABASE, name) for name in (() if server is None else server.databases)),
        *((Kind.TREE, str(one.path)) for one in settings.trees),
    }
    strange = [part for part in source.manifest.parts if (part.kind, part.source) not in known]
    if strange:
        raise PrerequisiteError(
            f"the snapshot has the {strange[0].kind} {strange[0].name!r} "
            f"({strange[0].source}), which this machine does not",
            where="the snapshot",
            hint="switch to the configuration of that time first, or extract it with --to DIR",
        )


async def _put_back(
    settings: BackupSettings, extracted: Extracted, clock: Clock, ran: tuple[str, ...]
) -> Restored:
    manifest = extracted.source.manifest
    owners = Owners.of(manifest)
    async with _held(settings, manifest.parts, owners):
        _refuse_sessions(settings, manifest.parts)
        # Databases first: what can be refused is refused before a file is replaced.
        order = sorted(manifest.parts, key=lambda part: part.kind is not Kind.DATABASE)
        parts = [_put(settings, extracted, part, owners) for part in order if part.present]
        audit = _audit(settings, extracted)
    return Restored(
        snapshot=extracted.source.snapshot.id,
        instance=manifest.instance,
        host=settings.host,
        at=clock.wall(),
        created_at=manifest.created_at,
        parts=tuple(parts),
        audit_before=manifest.audit,
        audit_after=audit,
        started=ran,
    )


@asynccontextmanager
async def _held(
    settings: BackupSettings, parts: tuple[Included, ...], owners: Owners
) -> AsyncIterator[None]:
    """Hold the control plane's store, as it does itself: one that runs anyhow is noticed.

    Raises:
        PrerequisiteError: the control plane runs.
    """
    store = next((part for part in parts if part.audited and part.kind is Kind.STORE), None)
    if store is None:
        yield
        return
    _make_parent(store, owners)
    async with hold(parse_url(store.source), Holder.here(settings.state_dir)):
        _give_lock(store, owners)
        yield


def _make_parent(store: Included, owners: Owners) -> None:
    directory = Path(store.source).parent
    if not directory.exists():
        directory.mkdir(mode=0o700, parents=True)
        owners.give(directory, store.uid, store.gid)


def _give_lock(store: Included, owners: Owners) -> None:
    """Give the lock to the control plane's user, who could not take it otherwise."""
    path = Path(store.source).resolve()
    owners.give(path.with_name(f"{path.name}.lock"), store.uid, store.gid)


def _refuse_sessions(settings: BackupSettings, parts: tuple[Included, ...]) -> None:
    if settings.server is None:
        return
    databases = Databases(settings.server, settings.timeout_s)
    for part in parts:
        if part.kind is Kind.DATABASE and (sessions := databases.is_used(part.name)):
            raise PrerequisiteError(
                f"{sessions} sessions use the database; nothing was restored",
                where=part.name,
                hint="stop its service, and run the same restore again",
            )


def _put(
    settings: BackupSettings, extracted: Extracted, part: Included, owners: Owners
) -> RestoredPart:
    """Put one part back, and compare what is there now with the manifest."""
    copy = extracted.copies / (part.staged or "")
    if part.kind is Kind.STORE:
        put_store(copy, part, owners)
        before, after = part.rows, rows_of(Path(part.source))
    elif part.kind is Kind.DATABASE:
        if settings.server is None or part.database is None:
            raise InternalError("a database without its server", where=part.name)
        databases = Databases(settings.server, settings.timeout_s)
        databases.restore(part.name, part.database, copy)
        after = databases.rows_in(part.name)
        before = {**dict.fromkeys(after, 0), **part.rows}  # a dump lists no empty table
    else:
        tree = extracted.at(Path(part.source))
        before = _counted(tree)
        put_tree(tree, part, owners)
        after = _counted(Path(part.source))
    if before != after:
        differing = sorted(
            name for name in {*before, *after} if before.get(name) != after.get(name)
        )
        raise BadInputError(
            f"it is not what the snapshot holds: {', '.join(differing[:5])}",
            where=part.name,
            hint="run the same restore again",
        )
    return RestoredPart(kind=part.kind, name=part.name, before=before, after=after)


def _counted(tree: Path) -> dict[str, int]:
    found = survey(tree)
    return {"files": found.files, "bytes": found.size}


def _audit(settings: BackupSettings, extracted: Extracted) -> AuditHead | None:
    """Verify the audit log where it is now."""
    manifest = extracted.source.manifest
    audited = next((part for part in manifest.parts if part.audited), None)
    if audited is None or manifest.audit is None:
        return None
    expected = manifest.audit
    if audited.kind is Kind.STORE:
        head = Head(expected.count, expected.head)
        report = verify_database(audited.source, instance=manifest.instance, expected=head)
    else:
        report = log_of_dump(
            extracted.copies / (audited.staged or ""),
            expected,
            manifest.instance,
            settings.timeout_s,
        )
    if not report.ok:
        raise BadInputError(
            f"the audit log is bad at row {report.first_bad}: {report.reason}",
            where=audited.name,
            hint="run the same restore again",
        )
    return AuditHead(count=report.count, head=report.head)
