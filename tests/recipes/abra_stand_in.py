#!/usr/bin/env python3
"""STAND-IN for abra, for tests alone: its documented command line over the real `docker stack`.

It keeps what docs/abra-assumptions.md says of the real one: state below $ABRA_DIR, the moves of the
recipe's checkout, what a command refuses, and where it wants a terminal. It really deploys, makes
secrets, removes volumes, and backs up with restic by the labels of the recipe. What it cannot show
is that the real abra takes the same words.

Files beside this program change what it does: `override.yml` is one more compose file of every
deployment (this kernel has no IPVS), `override.RECIPE.yml` one of a recipe's, `fault` is the name
of a fault, `fault.at` the command of it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

HERE = Path(__file__).parent
KEPT = PurePosixPath("/kept")  # of a volume in a container beside its app
HOME = Path(os.environ.get("ABRA_DIR") or Path.home() / ".abra")
TAG = re.compile(r"(\d+)\.(\d+)\.(\d+)\+")


class FatalError(Exception):
    """What abra says after FATA."""


def docker(*words: str, stdin: str | None = None, **environment: str) -> str:
    done = subprocess.run(
        ["docker", *words],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    sys.stderr.write(done.stderr)
    if done.returncode != 0:
        raise FatalError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else words[0])
    return done.stdout


class App:
    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.file = HOME / "servers" / "default" / f"{domain}.env"
        if not self.file.exists():
            raise FatalError(f"cannot find app with name {domain}")
        self.stack = domain.replace(".", "_")[:45]
        self.values: dict[str, str] = {}
        for line in self.file.read_text().splitlines():
            name, equals, value = line.strip().partition("=")
            if not equals or name.startswith("#"):
                continue
            value = re.sub(r"\s+#.*", "", value).strip()
            if not value.startswith("'"):
                value = re.sub(r"\$\{?(\w+)\}?", lambda m: self.values.get(m[1], ""), value)
            self.values[name] = value.strip("\"'")
        self.recipe = HOME / "recipes" / self.values["TYPE"].partition(":")[0]

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.recipe), *words], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise FatalError(done.stderr.strip())
        return done.stdout.strip()

    def deployed(self) -> bool:
        label = f"label=com.docker.stack.namespace={self.stack}"
        return bool(docker("service", "ls", "-q", "--filter", label).strip())

    def labels(self) -> dict[str, str]:
        found = docker("stack", "services", "--format", "{{.ID}}", self.stack).split()
        labels: dict[str, str] = {}
        for one in found:
            labels |= json.loads(docker("service", "inspect", one))[0]["Spec"]["Labels"]
        return labels


def new(recipe: str, flags: dict[str, str]) -> None:
    directory = HOME / "recipes" / recipe
    run = ["git", "-C", str(directory)]
    tags = subprocess.run([*run, "tag"], capture_output=True, text=True, check=True).stdout.split()
    published = sorted((t for t in tags if TAG.match(t)), key=lambda t: TAG.match(t).groups())
    if published:
        subprocess.run([*run, "checkout", "-q", published[-1]], check=True)
    sample = (directory / ".env.sample").read_text()
    text = re.sub(r"(?m)^DOMAIN=.*$", f"DOMAIN={flags['--domain']}", sample)
    file = HOME / "servers" / flags["--server"] / f"{flags['--domain']}.env"
    file.write_text(re.sub(r"(?m)^TYPE=.*$", f"TYPE={recipe}:{(published or [''])[-1]}", text))


def deploy(app: App, version: str | None, flags: dict[str, str]) -> None:
    if "--chaos" not in flags:
        app.git("checkout", "-q", version or "main")
    if app.git("status", "--porcelain") and "--chaos" not in flags:
        raise FatalError("locally unstaged changes")
    exported = dict(re.findall(r"(?m)^export (\w+)=(\S+)$", (app.recipe / "abra.sh").read_text()))
    files = [app.recipe / name for name in app.values.get("COMPOSE_FILE", "compose.yml").split(":")]
    overrides = (HERE / f"override.{app.recipe.name}.yml", HERE / "override.yml")
    files += [one for one in overrides if one.exists()][:1]
    words = ("stack", "deploy", "--resolve-image=never", "--prune")
    arguments = [f"--compose-file={file}" for file in files]
    values = {**exported, **app.values, "STACK_NAME": app.stack}
    sys.stdout.write(docker(*words, *arguments, app.stack, **values))
    converge(app, float(app.labels().get(f"coop-cloud.{app.stack}.timeout", "30")))


def converge(app: App, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        shown = docker("stack", "services", "--format", "{{.Replicas}}", app.stack).split()
        if shown and all(one.split("/")[0] == one.split("/")[1] for one in shown):
            return
        if time.monotonic() > deadline:
            raise FatalError("timed out while waiting for the app to converge")
        time.sleep(0.2)


def undeploy(app: App) -> None:
    if not app.deployed():
        raise FatalError(f"{app.domain} is not deployed?")
    sys.stdout.write(docker("stack", "rm", app.stack))


def remove_volumes(app: App) -> None:
    if app.deployed():
        raise FatalError("still deployed, run `abra app undeploy` first")
    for name in docker("volume", "ls", "-q").split():
        if name.startswith(f"{app.stack}_"):
            docker("volume", "rm", "--force", name)


def generate(app: App, flags: dict[str, str]) -> None:
    made = []
    there = docker("secret", "ls", "--format", "{{.Name}}").split()
    for key, version in app.values.items():
        match = re.fullmatch(r"SECRET_(\w+)_VERSION", key)
        if match is None or f"{app.stack}_{match[1].lower()}_{version}" in there:
            continue
        value = secrets.token_urlsafe(24)
        docker("secret", "create", f"{app.stack}_{match[1].lower()}_{version}", "-", stdin=value)
        made.append({"name": match[1].lower(), "value": value})
    if "--machine" in flags:
        sys.stdout.write(json.dumps(made) + "\n")


def remove_secrets(app: App) -> None:
    for name in docker("secret", "ls", "--format", "{{.Name}}").split():
        if name.startswith(f"{app.stack}_"):
            docker("secret", "rm", name)


@dataclass(frozen=True)
class Kept:
    """What a backup has of an app: a volume, or a path below it that a label names."""

    volume: str
    path: str
    place: Path


def volumes(app: App) -> list[Kept]:
    labels = app.labels()
    if labels.get("backupbot.backup") != "true":
        raise FatalError("no backup config found")
    found = []
    for name in docker("volume", "ls", "-q").split():
        label = f"backupbot.backup.volumes.{name.removeprefix(app.stack + '_')}"
        if not name.startswith(f"{app.stack}_") or labels.get(label) == "false":
            continue
        place = Path(docker("volume", "inspect", "-f", "{{.Mountpoint}}", name).strip())
        paths = [one for one in labels.get(f"{label}.path", "").split(",") if one]
        found += [Kept(name, one, place / one) for one in paths] or [Kept(name, "", place)]
    return found


def restic(*words: str, stdin: bytes | None = None) -> bytes:
    repository = HOME / "stand-in-restic"
    environment = {
        **os.environ,
        "RESTIC_PASSWORD": "of the stand-in",
        "RESTIC_REPOSITORY": str(repository),
    }
    if not repository.exists():
        subprocess.run(["restic", "init", "-q"], env=environment, check=True)
    done = subprocess.run(
        ["restic", "-q", *words],
        env=environment,
        check=True,
        input=stdin,
        stdout=subprocess.PIPE,
    )
    return done.stdout


@contextmanager
def beside(app: App, kept: Kept) -> Iterator[str]:
    """Hold a container that has the volume at KEPT, and is never started.

    Who may use Docker need not be root, to whom alone the files of volumes are readable.
    """
    service = docker("stack", "services", "--format", "{{.Name}}", app.stack).split()[0]
    spec = json.loads(docker("service", "inspect", service))[0]["Spec"]
    made_of = spec["TaskTemplate"]["ContainerSpec"]["Image"]
    made = docker("create", f"--volume={kept.volume}:{KEPT}", made_of, "/none").strip()
    try:
        yield made
    finally:
        docker("rm", "--force", made)


def back_up_by_container(app: App, kept: Kept) -> None:
    with beside(app, kept) as container:
        words = ["docker", "cp", f"{container}:{KEPT / kept.path}", "-"]
        packed = subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout
    restic("backup", "--stdin", f"--stdin-filename={file_of(kept)}", stdin=packed)


def restore_by_container(app: App, kept: Kept) -> None:
    packed = restic("dump", "--path", f"/{file_of(kept)}", "latest", f"/{file_of(kept)}")
    with beside(app, kept) as container:
        # The archive's own top is the name of what was copied.
        words = ["docker", "cp", "-", f"{container}:{(KEPT / kept.path).parent}"]
        subprocess.run(words, check=True, input=packed)


def file_of(kept: Kept) -> str:
    return f"{kept.volume}{kept.path and '-'}{kept.path.replace('/', '-')}.tar"


def hook(app: App, label: str) -> None:
    """Run the hooks of a kind, each in a container of the service whose label it is."""
    for service in docker("stack", "services", "--format", "{{.Name}}", app.stack).split():
        labels = json.loads(docker("service", "inspect", service))[0]["Spec"]["Labels"]
        if label in labels:
            filtered = f"label=com.docker.swarm.service.name={service}"
            containers = docker("ps", "-q", "--filter", filtered).split()
            if not containers:
                raise FatalError(f"{label}: no container of {service} runs")
            docker("exec", containers[0], *shlex.split(labels[label]))


def back_up(app: App) -> None:
    terminal()
    hook(app, "backupbot.backup.pre-hook")
    found = volumes(app)
    if os.geteuid() == 0:
        restic("backup", *(str(one.place) for one in found))
    else:
        for one in found:
            back_up_by_container(app, one)
    hook(app, "backupbot.backup.post-hook")


def restore(app: App) -> None:
    terminal()
    hook(app, "backupbot.restore.pre-hook")
    for one in volumes(app):
        if os.geteuid() == 0:
            restic("restore", "latest", "--target", "/", "--include", str(one.place))
        else:
            restore_by_container(app, one)
    hook(app, "backupbot.restore.post-hook")


def terminal() -> None:
    if not sys.stdin.isatty():
        raise FatalError("the input device is not a TTY")


def listed() -> None:
    apps = [{"appName": f.stem} for f in sorted((HOME / "servers" / "default").glob("*.env"))]
    sys.stdout.write(json.dumps({"default": {"apps": apps}}) + "\n")


ALLOWED = {
    "new": {"--server", "--domain", "--offline", "--no-input"},
    "deploy": {"--chaos", "--force", "--offline", "--no-input", "--no-domain-checks"},
    "undeploy": {"--no-input"},
    "volume remove": {"--force", "--no-input"},
    "secret generate": {"--all", "--machine", "--offline", "--no-input"},
    "secret remove": {"--all", "--no-input"},
    "backup create": set(),
    "restore": set(),
    "ls": {"-S", "-m"},
}
WITH_VALUE = {"--server", "--domain"}


def parse(words: list[str]) -> tuple[str, list[str], dict[str, str]]:
    if words[:1] != ["app"]:
        raise FatalError(f"unknown command {words[:1]}")
    length = 2 if words[1] in ("secret", "volume", "backup") else 1
    command, rest = " ".join(words[1 : 1 + length]), iter(words[1 + length :])
    positional: list[str] = []
    flags: dict[str, str] = {}
    for word in rest:
        if word.startswith("-"):
            if word not in ALLOWED[command]:
                raise FatalError(f"unknown flag: {word}")
            flags[word] = next(rest) if word in WITH_VALUE else ""
        else:
            positional.append(word)
    return command, positional, flags


def act(words: list[str]) -> None:
    command, positional, flags = parse(words)
    fault = (HERE / "fault").read_text() if (HERE / "fault").exists() else ""
    at = (HERE / "fault.at").read_text() if (HERE / "fault.at").exists() else "deploy"
    if fault and command == at:
        if fault == "hang":
            time.sleep(600)
        if fault == "lie":  # exit status 0, and nothing done
            return
        if fault == "fail":
            sys.stdout.write("a long story on the wrong stream\n")
            raise FatalError("server on fire")
    if command == "ls":
        listed()
        return
    if command == "new":
        new(positional[0], flags)
        return
    app = App(positional[0])
    if command == "deploy":
        deploy(app, positional[1] if len(positional) > 1 else None, flags)
    elif command == "secret generate":
        generate(app, flags)
    else:
        {
            "undeploy": undeploy,
            "volume remove": remove_volumes,
            "secret remove": remove_secrets,
            "backup create": back_up,
            "restore": restore,
        }[command](app)


def main() -> int:
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write("abra STAND-IN of the tests, not abra\n")
        return 0
    try:
        act(sys.argv[1:])
    except FatalError as error:
        sys.stderr.write(f"FATA {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
