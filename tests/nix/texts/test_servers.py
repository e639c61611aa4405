"""Texts for servers: each starts with its text, and refuses one with a fault."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from debian_programs import CACHE, program, unpack

from agency import ports

Texts = dict[str, Any]


@contextlib.contextmanager
def started(place: Path, port: int, *argv: str) -> Iterator[str]:
    """Run a server until it listens; give an AssertionError with its log where it ends."""
    log = place / "log"
    with log.open("wb") as handle:
        process = subprocess.Popen(argv, stdout=handle, stderr=handle)
    try:
        end = time.monotonic() + 20
        while not ports.is_listening(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_the_registry_takes_its_settings(texts: Texts, tmp_path: Path) -> None:
    """It asks for a token of GitLab's, and refuses a certificate that is not there."""
    registry = program("docker-registry", "docker-registry")
    settings = json.loads(texts["registry"])
    port = ports.assign(["registry"], {})["registry"]
    certificate, _ = Authority().issue("gitlab")
    (tmp_path / "auth.crt").write_bytes(certificate)
    token = settings["auth"]["token"]
    assert settings["http"]["addr"].startswith("127.0.0.1:")
    assert token["rootcertbundle"] == "/var/lib/gitlab-registry/auth.crt"
    settings["http"]["addr"] = f"127.0.0.1:{port}"
    settings["storage"]["filesystem"]["rootdirectory"] = str(tmp_path / "images")
    token["rootcertbundle"] = str(tmp_path / "auth.crt")
    file = tmp_path / "registry.yml"
    file.write_text(json.dumps(settings))
    with started(tmp_path, port, registry, "serve", str(file)) as url:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}/v2/", timeout=10)
        assert refused.value.code == 401
        asked = refused.value.headers["WWW-Authenticate"]
        assert f'realm="{token["realm"]}"' in asked
        assert "https://gitlab.agency.example.org/" in asked
    token["rootcertbundle"] = str(tmp_path / "gone.crt")
    file.write_text(json.dumps(settings))
    argv = (registry, "serve", str(file))
    with (
        pytest.raises(AssertionError, match=r"gone\.crt"),
        started(tmp_path, ports.assign(["other"], {})["other"], *argv),
    ):
        pass


def test_the_process_exporter_takes_its_settings(texts: Texts, tmp_path: Path) -> None:
    exporter = program("prometheus-process-exporter", "prometheus-process-exporter")
    port = ports.assign(["processes"], {})["processes"]
    file = tmp_path / "process-exporter.yaml"
    argv = (exporter, "-config.path", str(file), f"-web.listen-address=127.0.0.1:{port}")
    file.write_text(json.dumps(texts["processes"]))
    with started(tmp_path, port, *argv) as url:
        said = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
        assert "namedprocess_scrape_errors" in said
    file.write_text('{"process_names": [{"name": "{{.Matches.agent", "cmdline": [".+"]}]}')
    other = ports.assign(["other"], {})["other"]
    with pytest.raises(AssertionError, match="template"), started(tmp_path, other, *argv):
        pass


def test_sshd_takes_its_settings(texts: Texts, tmp_path: Path) -> None:
    """Written as nixpkgs writes them, but for the keys; what it understood is read back."""
    unpacked = CACHE / "sshd"
    if not unpacked.is_dir() and (why := unpack(unpacked, "openssh-server", "libwrap0")):
        pytest.skip(f"sshd is not to be had: {why}")
    (libraries,) = {path.parent for path in unpacked.rglob("libwrap.so.0")}
    key = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=30
    )
    text = written(texts["sshd"]["settings"]) + texts["sshd"]["extraConfig"]
    text = text.replace("mlkem768x25519-sha256,", "")  # newer than the sshd of Debian 12 (9.2)
    file, users = tmp_path / "sshd_config", tmp_path / "passwd"
    users.write_text("root:x:0:0::/:/bin/sh\nsshd:x:65533:65534::/:/bin/false\n")

    def understood(text: str, user: str) -> dict[str, str]:
        file.write_text(f"{text}\n")
        argv = [str(unpacked / "usr/sbin/sshd"), "-T", "-f", str(file), "-h", str(key)]
        argv += ["-C", f"user={user},host=x,addr=203.0.113.1,laddr=203.0.113.2,lport=22"]
        if os.geteuid() == 0:
            argv = ["unshare", "--mount", "sh", "-c", ALONE, "sh", str(users), *argv]
        done = subprocess.run(
            argv,
            env={"LD_LIBRARY_PATH": str(libraries), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    root = understood(text, "root")
    assert root["passwordauthentication"] == "no"
    assert root["denygroups"] == "agents"
    assert root["kbdinteractiveauthentication"] == "no"
    assert root["permitrootlogin"] in ("prohibit-password", "without-password")
    with pytest.raises(AssertionError, match="unsupported option"):
        understood(
            text.replace("PasswordAuthentication no", "PasswordAuthentication never"), "root"
        )


# As root it wants a user of its own, which this machine may not have.
ALONE = (
    "mount -t tmpfs tmpfs /run && mkdir /run/sshd &&"
    ' mount --bind "$1" /etc/passwd && shift && exec "$@"'
)
COMMAS = ("Ciphers", "KexAlgorithms", "Macs")


def written(settings: Mapping[str, Any]) -> str:
    """The settings as nixpkgs' module writes them (services/networking/ssh/sshd.nix)."""
    lines = []
    for key, value in settings.items():
        match value:
            case None:
                continue
            case bool():
                text = "yes" if value else "no"
            case list():
                text = ("," if key in COMMAS else " ").join(value)
            case _:
                text = str(value)
        lines.append(f"{key} {text}\n")
    return "".join(lines)
