"""Supplies of the part `recipes` of a spin-up: a stand-in for abra, the recipe, Traefik's image.

The stand-in says that it is none, so what it deploys is simulated to a transcript. The override
beside it is of this kernel's lack of IPVS, and of nothing else.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import yaml
from recipe_images import TRAEFIK, find_traefik, rootfs

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
OVERRIDE = {"version": "3.8", "services": {"app": {"deploy": {"endpoint_mode": "dnsrr"}}}}


def make_supplies(place: Path) -> Path:
    """Make the directory for `--supplies`."""
    program = place / "abra" / "bin" / "abra"
    program.parent.mkdir(parents=True)
    shutil.copy(RECIPES / "abra_stand_in.py", program)
    program.chmod(0o755)
    (program.parent / "override.yml").write_text(yaml.safe_dump(OVERRIDE))
    shutil.copytree(RECIPES / "traefik" / "recipe", place / "traefik", copy_function=shutil.copy)
    (place / "images").mkdir()
    layer = rootfs({"usr/bin/traefik": find_traefik()})
    (place / "images" / "traefik.tar").write_bytes(image(TRAEFIK, layer))
    return place


def image(name: str, layer: bytes) -> bytes:
    """An image of one layer, as `docker save` writes it."""
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    named = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": named, "RepoTags": [name], "Layers": ["layer.tar"]}]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for member, content in {
            "layer.tar": layer,
            named: config,
            "manifest.json": json.dumps(manifest).encode(),
        }.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()
