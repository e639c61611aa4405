"""Command that makes the agents' image and gives it to a Docker Engine.

    make agent-image [AGENT_IMAGE="--docker-host unix:///run/docker.sock"]

It needs no registry. The archive is kept in the user's cache, by the versions and digests of what
it is made of. Without an engine it says where the archive is, and the id that it will have.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import build_cache
from debian_packages import fail, say

from agentimage.archive import archive, layer
from agentimage.contents import ROOT, VERSIONED, Entry, compiled, sources

NAME = "agency-agent"
DEFAULT_HOST = "unix:///run/docker.sock"
OUTPUT = ROOT / ".tools" / "agent-image.tar"


def version() -> str:
    """Return the version of the package."""
    import agency

    return agency.__version__


def key(entries: list[Entry]) -> str:
    """Return a digest over every file of the image, its name and its mode, and over its maker."""
    found = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        found.update(source.read_bytes())
    for entry in sorted(entries, key=lambda each: each.path):
        what = "" if entry.is_directory else hashlib.sha256(entry.content).hexdigest()
        found.update(f"{entry.path}\0{entry.mode:o}\0{entry.link or ''}\0{what}\n".encode())
    return found.hexdigest()


def make(output: Path) -> tuple[str, str]:
    """Put the archive at `output`, from the cache or anew; return the image's name and id."""
    name = f"{NAME}:{version()}"
    entries = sources()
    made = key(entries)[:16]
    build = build_cache.Build("agent-image", f"{VERSIONED}-{made}", "10 seconds")

    def build_it(place: Path) -> None:
        (place / build.name).write_bytes(archive(layer([*entries, *compiled(entries)]), name)[0])

    build_cache.take(build, output, build_it)
    output.chmod(0o644)
    forget_older(build)
    return name, image_id(output)


def forget_older(build: build_cache.Build) -> None:
    """Remove what the cache holds of older images: each is large, and none is needed again."""
    directory = build_cache.cache_directory()
    for entry in () if directory is None else directory.glob(f"{build.name}-*"):
        if not entry.name.startswith(build.key):
            entry.unlink(missing_ok=True)


def image_id(path: Path) -> str:
    """Return the id of the image in an archive."""
    with tarfile.open(path) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        config = json.load(manifest)[0]["Config"]
    return f"sha256:{PurePosixPath(config).stem}"


def load(path: Path, host: str, name: str) -> str | None:
    """Give an archive to an engine; return the image's id there, None if none answers."""
    docker = ["docker", "--host", host]
    if subprocess.run(
        [*docker, "version"], capture_output=True, timeout=60, check=False
    ).returncode:
        return None
    subprocess.run([*docker, "load", "--quiet", "--input", str(path)], check=True, timeout=300)
    shown = [*docker, "image", "inspect", "--format", "{{.Id}}", name]
    done = subprocess.run(shown, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def main(arguments: list[str]) -> None:
    """Make the image, load it, and print the lines for instance.yaml."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docker-host", default=DEFAULT_HOST, help="the engine; %(default)s")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the archive; %(default)s")
    options = parser.parse_args(arguments)
    name, made = make(options.output)
    try:
        found = load(options.output, options.docker_host, name)
    except FileNotFoundError:
        found = None
    except subprocess.CalledProcessError as error:
        fail(f"the engine at {options.docker_host} did not take the image: {error}")
    if found is None:
        say(f"no engine answers at {options.docker_host}; there: docker load -i {options.output}")
    say("for instance.yaml:")
    sys.stdout.write(f"docker:\n  image: {name}\n  imageId: {found or made}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
