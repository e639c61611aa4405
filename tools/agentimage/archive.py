"""Archive of an image, as `docker load` takes it: the same files give the same bytes and id."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable
from pathlib import PurePosixPath

from agentimage.contents import HOME, Entry

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_EPOCH = "1970-01-01T00:00:00Z"


def layer(entries: Iterable[Entry]) -> bytes:
    """Pack entries into a tarball: in order of their names, of root, without times."""
    chosen = {entry.path: entry for entry in entries}
    for path in [*chosen]:
        for parent in path.parents:
            if parent != PurePosixPath():
                chosen.setdefault(parent, Entry(parent))
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(chosen):
            entry = chosen[path]
            member = tarfile.TarInfo(path.as_posix())
            member.mode = entry.mode
            if entry.link is not None:
                member.type, member.linkname = tarfile.SYMTYPE, entry.link
                tar.addfile(member)
            elif entry.is_directory:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                data = entry.content
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def archive(layer_bytes: bytes, name: str) -> tuple[bytes, str]:
    """Pack a layer as `docker load` takes it; return the archive and the image's id."""
    digest = hashlib.sha256(layer_bytes).hexdigest()
    config = {
        "architecture": _MACHINES[platform.machine()],
        "os": "linux",
        "created": _EPOCH,
        "config": {
            "Env": [
                f"PATH=/{HOME}/bin",
                f"LD_LIBRARY_PATH=/{HOME}/libraries",
                "LANG=C.UTF-8",
                "PYTHONDONTWRITEBYTECODE=1",
            ],
            "User": "65534:65534",
            "Entrypoint": [f"/{HOME}/bin/python3", "-I", "-m", "agency", "agent", "run"],
            "Labels": {"agency.keep": "agents"},
        },
        "history": [{"created": _EPOCH, "created_by": "make agent-image"}],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    told = json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
    image = hashlib.sha256(told).hexdigest()
    manifest = [{"Config": f"{image}.json", "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, data in (
            (f"{image}.json", told),
            (f"{digest}/layer.tar", layer_bytes),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    return sink.getvalue(), f"sha256:{image}"
