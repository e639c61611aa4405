"""A whole spin-up: run the target, then write, sign and verify what was seen."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from agency import quarantine, rundir
from agency.clock import Clock, new_id
from agency.commandline import emit, versions
from agency.errors import AgencyError, ExitCode, PrerequisiteError
from agency.files import write_atomically
from agency.instance import LoadedInstance, load_instance, open_provider
from agency.paths import state_dir
from agency.secrets import TRANSCRIPT_SIGNING_KEY, Redactor, SecretProvider, key_places
from agency.source_digest import source_digest, source_root
from agency.spinup.execute import interruptible, take_steps, tear_down
from agency.spinup.launch.started import started
from agency.spinup.progress import Progress, summary
from agency.spinup.record import Recorder, describe
from agency.spinup.run import Digests, Run
from agency.spinup.shop.look import instance_digest
from agency.spinup.statement import Facts, statement
from agency.spinup.target import Opener, Options, Setting, Target, hold_setting
from agency.terminal import plain
from agency.transcript import STEPS, Report, load_key, load_or_create_key, public_pem, sign, verify


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a spin-up."""

    options: Options
    recorder: Recorder
    report: Report
    defect: Exception | None

    @property
    def exit_code(self) -> int:
        """0 when the transcript says PASSED and verifies; 4 when we are at fault; else 1."""
        if self.defect is not None:
            return int(ExitCode.INTERNAL)
        return int(ExitCode.DONE if self.report.ok else ExitCode.BAD)


async def spin_up(
    options: Options, network: quarantine.Quarantine, console: Console, opener: Opener
) -> Outcome:
    """Run a spin-up to its end and leave the transcript; nothing else is left of it.

    From beginning to end SIGINT and SIGTERM end its steps and nothing else.

    Raises:
        PrerequisiteError: it could not begin (no key, no place to write); there is no transcript.
        InstanceError: the instance is bad; there is no transcript.
    """
    with interruptible() as interrupted:
        loaded = load_instance(options.instance)
        subjects = _subjects(loaded)
        _must_be_writable(options.output.parent)
        runs = state_dir() / "runs"
        rundir.reap(runs)
        directory = rundir.create(runs, new_id("run"))
        try:
            secrets = open_provider(loaded, directory.credentials, age_key_file=options.age_key)
            key = _signing_key(loaded, secrets)
            if network.own_mounts:
                quarantine.hide(_key_files(options, loaded), directory.path / "hidden")
            with Progress(console) as progress:
                recorder = Recorder(options.target, Clock(), progress)
                async with aiohttp.ClientSession(trust_env=False) as session:
                    setting = Setting(options, network, loaded, directory, secrets, session)
                    async with opener(setting) as target:
                        run = Run(recorder, STEPS[options.target][:-1], options.fail_fast)
                        defects = await _run(run, setting, target, subjects, interrupted)
                        return _leave(run, setting, subjects, key, defects)
        finally:
            directory.remove()


async def _run(
    run: Run,
    setting: Setting,
    target: Target,
    subjects: Mapping[str, Digests],
    interrupted: asyncio.Event,
) -> tuple[Exception, ...]:
    """Take the steps, then tear down; returned are defects of ours."""
    hold_setting(run, setting)
    timeout_s = setting.options.timeout_s
    steps = target.spin_up(run)
    defects = await take_steps(run, steps, timeout_s=timeout_s, interrupted=interrupted)
    # Hashing and stopping wait for different things.
    again = asyncio.create_task(asyncio.to_thread(_source_problem, subjects["source"]))
    defects += await tear_down(run)
    problem = await again
    if problem is not None:
        run.recorder.fail(problem)
    return defects


def _leave(
    run: Run,
    setting: Setting,
    subjects: Mapping[str, Digests],
    key: Ed25519PrivateKey,
    defects: tuple[Exception, ...],
) -> Outcome:
    """Write, sign and verify the transcript."""
    options, recorder = setting.options, run.recorder
    facts = Facts(
        run=setting.directory.run,
        started_at=run.started_at,
        finished_at=recorder.clock.now_iso(),
        subjects={**subjects, **run.subjects},
        versions={name: value for name, value in versions().items() if value},
        network=run.network,
        challenge=options.challenge,
    )
    redactor = Redactor(run.known_secrets)
    envelope = sign(statement(recorder, facts, redactor), key)
    if recorder.failure is not None:  # people will see it
        recorder.failure = recorder.failure.redacted(redactor.redact)
    write_atomically(options.output, envelope)
    write_atomically(options.public_key, public_pem(key))
    report = verify(options.output.read_bytes(), options.public_key.read_bytes())
    defect = ExceptionGroup("defects of ours", defects) if defects else None
    return Outcome(options, recorder, report, defect)


def _signing_key(loaded: LoadedInstance, secrets: SecretProvider) -> Ed25519PrivateKey:
    """Load the instance's own key, or this user's where the instance keeps no secrets."""
    if loaded.instance.secrets.provider == "sops":
        return load_key(secrets.get(TRANSCRIPT_SIGNING_KEY).reveal().encode())
    return load_or_create_key(_user_key())


def _user_key() -> Path:
    return state_dir() / "transcript.key"


def _key_files(options: Options, loaded: LoadedInstance) -> list[Path]:
    """List the files that lead to the signing key; it was read, and nothing needs them again."""
    places = key_places(loaded.instance.name, options.age_key).places
    files = (_user_key(), *(place.path for place in places if place.path is not None))
    return [path for path in files if path.is_file()]


def _must_be_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".writable."):
            pass
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be written: {error.strerror}",
            where=str(directory),
            hint="choose another --output",
        ) from error


def _subjects(loaded: LoadedInstance) -> dict[str, dict[str, str]]:
    """Digest the sources that run, and what the instance renders to."""
    copy = started()
    libraries: dict[str, dict[str, str]] = {}
    if copy is None:
        digest = source_digest(source_root()).digest_set()
    else:  # the digest of the copy itself is compared at the end
        digest = dict(copy.digests)
        libraries = {"libraries": {"sha256": copy.libraries}}
    return {"source": digest, "instance": {"sha256": instance_digest(loaded)}, **libraries}


def _source_problem(begun: Mapping[str, str]) -> str | None:
    """Return the reason why the sources at the end are not those of the beginning, or None."""
    try:
        ended = source_digest(source_root()).digest_set()
    except AgencyError as error:
        return f"the source could not be digested again at the end: {describe(error)}"
    if ended["sha256"] != begun["sha256"]:
        return "the source was changed during the run, so its digest does not say what ran"
    copy = started()
    return None if copy is None else copy.libraries_problem()


def _program() -> str:
    """Name `agency` as the person at this terminal can call it: by path in a checkout."""
    copy = started()
    program = (Path(sys.executable).parent if copy is None else copy.commands) / "agency"
    here = Path.cwd()
    return str(program.relative_to(here)) if program.is_relative_to(here) else "agency"


def _reasons(outcome: Outcome) -> list[str]:
    """List the reasons for FAILED; of a spin-up that ended early, the failure alone."""
    failure = outcome.recorder.failure
    if failure is not None:
        return [f"{failure.step}: {failure.message}"]
    return [] if outcome.report.ok else list(outcome.report.reasons)


def report(outcome: Outcome, console: Console, *, as_json: bool) -> None:
    """Print what came of it, and the one command that verifies the transcript."""
    options = outcome.options
    command = f"{_program()} transcript verify {options.output} --key {options.public_key}"
    data = {
        "result": "PASSED" if outcome.report.ok else "FAILED",
        "transcript": str(options.output),
        "publicKey": str(options.public_key),
        "verify": command,
        "failure": outcome.recorder.failure.message if outcome.recorder.failure else None,
    }

    def human(_: Console) -> None:
        summary(
            console,
            outcome.recorder,
            result=str(data["result"]),
            reasons=_reasons(outcome),
        )
        console.print(f"transcript: {plain(str(options.output))}")
        console.print(f"verify:     {plain(command)}", soft_wrap=True)

    emit(data, as_json=as_json, human=human)
    if outcome.defect is not None and os.environ.get("AGENCY_DEBUG"):
        raise outcome.defect
