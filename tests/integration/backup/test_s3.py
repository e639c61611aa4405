"""A repository in a bucket of S3: a real server with users, signatures, TLS and bucket policies."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from authority import Authority
from backing import HOST, Machine

from agency import ports
from agency.backup import create_backup, opening, restic, restore_in_place
from agency.backup.restic import RepositoryError
from agency.backup.state import LastSuccess, make_state_dir, note_success
from agency.backup.verify import verify_backup

PROGRAM = Path(__file__).parents[3] / ".tools/bin/versitygw"
ROOT = ("root-of-tests", "root/secret+of=tests")
KEEPER = ("keeper", "keeper/secret+of=tests")
BUCKET = "backups"
ARN = f"arn:aws:s3:::{BUCKET}"
WRITES = ("s3:GetObject", "s3:PutObject")
Trusting = Callable[..., None]
AT_NOON = {"snapshot": "0" * 64, "at": 1_800_000_000.0, "size": 1}
VERSIONS = pytest.mark.parametrize("which", ["machine", "newer"])


@dataclass(frozen=True)
class Server:
    """A server that runs, with an empty bucket."""

    place: Path
    port: int

    @property
    def bucket(self) -> Path:
        return self.place / "data" / BUCKET

    @property
    def snapshots(self) -> list[Path]:
        return [one for one in (self.bucket / "snapshots").iterdir() if len(one.name) == 64]

    def allow(self, *, removes: str) -> None:
        """Let the keeper read and write, and remove what is below `removes`."""
        policy = [
            (("s3:ListBucket", "s3:GetBucketLocation"), ARN),
            (WRITES, f"{ARN}/*"),
            (("s3:DeleteObject",), f"{ARN}/{removes}*"),
        ]
        document = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": [KEEPER[0]]},
                    "Action": list(actions),
                    "Resource": [resource],
                }
                for actions, resource in policy
            ],
        }
        assert self.ask(ROOT, "PUT", f"{BUCKET}?policy=", json.dumps(document)) == "204"

    def ask(self, user: tuple[str, str], method: str, path: str, body: str = "") -> str:
        """Ask with a user's signature; return the status of the answer."""
        digest = hashlib.sha256(body.encode()).hexdigest()
        argv = [
            *("curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "-K", "-", "-X", method),
            *("--cacert", str(self.place / "authority"), "--aws-sigv4", "aws:amz:us-east-1:s3"),
            *("-H", f"x-amz-content-sha256: {digest}"),
            *(("--data-binary", body) if body else ()),
            f"https://127.0.0.1:{self.port}/{path}",
        ]
        login = f'user = "{user[0]}:{user[1]}"'
        done = subprocess.run(argv, input=login, capture_output=True, text=True, timeout=30)
        return done.stdout


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Iterator[Server]:
    if not PROGRAM.exists():
        if os.environ.get("AGENCY_REQUIRE_S3"):
            pytest.fail("the S3 server is not there: make test-s3")
        pytest.skip("the S3 server is not there: make test-s3 builds it")
    place = tmp_path / "server"
    made = Server(place, ports.assign(["s3"], {})["s3"])
    made.bucket.mkdir(parents=True)
    (place / "users").mkdir()
    (place / "authority").write_bytes(authority.pem)
    certificate, key = authority.issue("127.0.0.1")
    (place / "certificate").write_bytes(certificate)
    (place / "key").write_bytes(key)
    environment = os.environ | {"ROOT_ACCESS_KEY": ROOT[0], "ROOT_SECRET_KEY": ROOT[1]}
    argv = [
        *(str(PROGRAM), "--port", f"127.0.0.1:{made.port}", "--iam-dir", str(place / "users")),
        *("--cert", str(place / "certificate"), "--key", str(place / "key")),
        *("posix", str(place / "data")),
    ]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 20
        while not ports.is_listening(made.port):
            assert process.poll() is None, (place / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        administrate(made, "create-user", "-a", KEEPER[0], "-s", KEEPER[1], "-r", "user")
        yield made
    finally:
        process.terminate()
        process.wait(20)


def administrate(server: Server, *argv: str) -> None:
    environment = os.environ | {
        "ADMIN_ACCESS_KEY": ROOT[0],
        "ADMIN_SECRET_KEY": ROOT[1],
        "ADMIN_ENDPOINT_URL": f"https://127.0.0.1:{server.port}",
        "SSL_CERT_FILE": str(server.place / "authority"),
    }
    done = subprocess.run(
        [str(PROGRAM), "admin", *argv], env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr


def point(machine: Machine, server: Server, user: tuple[str, str] = KEEPER, **more: object) -> None:
    """Have the machine's backups in the bucket, with a user's keys."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    pairs = " ".join(f"{name}={value}" for name, value in zip(names, user, strict=True))
    (machine.credentials / "backup-repository-credentials").write_text(f"{pairs}\n")
    address = f"s3:https://127.0.0.1:{server.port}/{BUCKET}"
    machine.write_config(repository=address, **more)


@VERSIONS
def test_what_was_lost_comes_back(
    which: str, machine: Machine, server: Server, trusting: Trusting
) -> None:
    trusting(which)
    files = machine.contents()
    server.allow(removes="")
    point(machine, server)
    assert create_backup(machine.settings, machine.clock).initialised
    assert (server.bucket / "config").is_file()
    assert verify_backup(machine.settings, machine.clock, read_percent=100).ok
    machine.damage()
    asyncio.run(restore_in_place(machine.settings, machine.clock, replace=HOST))
    assert machine.contents() == files


@VERSIONS
@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_wrong_keys_are_refused_and_not_told(
    which: str,
    wrong: str,
    machine: Machine,
    server: Server,
    trusting: Trusting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Restic 0.18 tries again for a quarter of an hour; the reason is told before that."""
    trusting(which)
    monkeypatch.setattr(restic, "OPEN_S", 6)
    server.allow(removes="")
    point(machine, server)
    assert opening.open_repository(machine.settings).exists() is False, "the control"
    bad = ("nobody", KEEPER[1]) if wrong == "key" else (KEEPER[0], "not/the+one")
    point(machine, server, bad)
    said = "Access Key Id you provided does not exist" if wrong == "key" else "signature"
    make_state_dir(machine.settings.state_dir)
    # Also where there was a backup: the repository is not gone, and no empty one is offered.
    note_success(
        machine.settings,
        LastSuccess.model_validate(AT_NOON | {"repository": machine.settings.repository}),
    )
    with pytest.raises(RepositoryError, match=said) as raised:
        create_backup(machine.settings, machine.clock)
    assert raised.value.exit_code == 3
    assert "--init" not in str(raised.value.hint)
    assert bad[1] not in str(raised.value.as_dict())
    assert list(server.bucket.rglob("config")) == []


@VERSIONS
def test_keys_without_a_right_to_the_bucket_make_nothing(
    which: str,
    machine: Machine,
    server: Server,
    trusting: Trusting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trusting(which)
    monkeypatch.setattr(restic, "OPEN_S", 6)
    point(machine, server)
    with pytest.raises(RepositoryError, match="Access Denied"):
        create_backup(machine.settings, machine.clock)
    assert list(server.bucket.rglob("config")) == []
    server.allow(removes="")
    assert create_backup(machine.settings, machine.clock).initialised, "the control"


def test_a_server_of_another_authority_is_told_nothing(
    machine: Machine, server: Server, trusting: Trusting
) -> None:
    trusting()
    server.allow(removes="")
    point(machine, server)
    (machine.place / "trusted.pem").write_bytes(Authority().pem)
    with pytest.raises(RepositoryError, match="x509"):
        create_backup(machine.settings, machine.clock)
    assert list(server.bucket.rglob("config")) == []


def test_a_policy_keeps_what_is_there(machine: Machine, server: Server, trusting: Trusting) -> None:
    """The keys may remove locks, as docs/backup-restore.md says, and no snapshot."""
    trusting()
    server.allow(removes="locks/")
    one_a_day = {"daily": 1, "weekly": 0, "monthly": 0}
    point(machine, server, retention=one_a_day, append_only=True)
    for _ in range(2):
        assert create_backup(machine.settings, machine.clock).removed == 0
    assert len(server.snapshots) == 2
    assert verify_backup(machine.settings, machine.clock, read_percent=100).ok
    first = f"{BUCKET}/snapshots/{server.snapshots[0].name}"
    assert server.ask(KEEPER, "DELETE", first) == "403"
    assert len(server.snapshots) == 2
    server.allow(removes="")
    assert server.ask(KEEPER, "DELETE", first) == "204", "the control"
    assert len(server.snapshots) == 1
