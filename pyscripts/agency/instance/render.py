"""Renderer of an instance's `generated/`: pure, and byte for byte the same every time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agency import naming
from agency.errors import BadInputError
from agency.files import write_tree_atomically
from agency.instance.documents import (
    HOST_PROXY,
    control_document,
    element_document,
    instance_document,
    proxy_document,
)
from agency.instance.jinja import fill
from agency.instance.load import LoadedInstance
from agency.instance.model import Instance
from agency.instance.reading.schema import instance_schema
from agency.secrets import MATRIX_AS_TOKEN, MATRIX_HS_TOKEN, placeholder

SCHEMA_FILE = "instance.schema.json"  # for editors, which instance.yaml names
# Placeholders in the rendered registration, until the machine inserts the tokens.
AS_TOKEN_PLACEHOLDER = placeholder(MATRIX_AS_TOKEN)
HS_TOKEN_PLACEHOLDER = placeholder(MATRIX_HS_TOKEN)


def registration(instance: Instance, *, url: str, as_token: str, hs_token: str) -> bytes:
    """Render the application service registration for Synapse (Matrix AS API v1.11, section 3.1).

    The service owns the agents' user ids, its own, and the aliases of the rooms that it keeps.
    """
    domain = instance.domain.replace(".", r"\.")
    return fill(
        "matrix/registration.yaml.j2",
        id=naming.APPSERVICE_ID,
        url=url,
        as_token=as_token,
        hs_token=hs_token,
        sender_localpart=naming.CONTROL_LOCALPART,
        agents_regex=f"@{naming.agent_localpart('.*')}:{domain}$",
        sender_regex=f"@{naming.CONTROL_LOCALPART}:{domain}$",
        room_regex=f"#{_room_localparts(instance)}:{domain}$",
    )


def _room_localparts(instance: Instance) -> str:
    """Return an expression for the local parts of the aliases of the rooms."""
    names = [naming.CONTROL_ROOM_LOCALPART]
    if instance.rooms.approvals:
        names.append(naming.APPROVALS_ROOM_LOCALPART)
    if instance.rooms.audit:
        names.append(naming.AUDIT_ROOM_LOCALPART)
    return names[0] if len(names) == 1 else f"({'|'.join(names)})"


def _json(document: object) -> bytes:
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def rendered_files(loaded: LoadedInstance) -> dict[str, bytes]:
    """Render every generated file; returns the contents by path below `generated/`."""
    instance = loaded.instance
    files = {
        "instance.json": _json(instance_document(instance, loaded.digest)),
        SCHEMA_FILE: _json(instance_schema()),
    }
    if instance.secrets.provider == "sops":
        recipients = sorted(instance.secrets.recipients.items())
        files["sops.yaml"] = fill("sops.yaml.j2", recipients=recipients)
    if instance.services.matrix.enable:
        files |= _matrix(instance)
    if instance.models is not None:
        files["proxy.json"] = _json(proxy_document(instance, HOST_PROXY))
    return files | _ci(instance) | _abra(instance)


def _matrix(instance: Instance) -> dict[str, bytes]:
    return {
        "control.json": _json(control_document(instance)),
        "matrix/element-config.json": _json(element_document(instance)),
        "matrix/registration.yaml": registration(
            instance,
            url=f"http://127.0.0.1:{naming.SERVICE_PORTS['control']}",
            as_token=AS_TOKEN_PLACEHOLDER,
            hs_token=HS_TOKEN_PLACEHOLDER,
        ),
    }


def _ci(instance: Instance) -> dict[str, bytes]:
    services, files = instance.services, {}
    if services.gitlab.enable:
        files["gitlab/gitlab-ci.yml"] = fill("gitlab/gitlab-ci.yml.j2")
    if services.ci.enable and services.ci.engine == "drone":
        gitlab = naming.public_host("gitlab", instance.domain) if services.gitlab.enable else None
        files["drone/drone.yml"] = fill("drone/drone.yml.j2")
        files["drone/server.env"] = fill(
            "drone/server.env.j2",
            host=naming.public_host("drone", instance.domain),
            port=naming.SERVICE_PORTS["drone"],
            max_tests=services.ci.max_tests,
            gitlab_host=gitlab,
        )
    return files


def _abra(instance: Instance) -> dict[str, bytes]:
    """Render the environment files for abra; the domain of an app under test is below the CI's."""
    files = {}
    if instance.services.traefik.enable:
        host = naming.public_host("traefik", instance.domain)
        files["abra/traefik.env"] = fill("abra/traefik.env.j2", host=host)
    if instance.services.swarm.enable:
        for recipe in sorted(instance.recipes):
            host = naming.recipe_host(recipe, instance.domain)
            files[f"abra/recipes/{recipe}.env"] = fill(
                "abra/recipe.env.j2", recipe=recipe, host=host
            )
    return files


class Kind(StrEnum):
    """Kind of difference between a file in `generated/` and its rendering."""

    MISSING = "missing"
    CHANGED = "changed"
    SUPERFLUOUS = "superfluous"


@dataclass(frozen=True, slots=True)
class Difference:
    """One file, by its path below `generated/`, that differs from its rendering."""

    path: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.path} is {self.kind.value}"


def write_rendered(loaded: LoadedInstance) -> dict[str, bytes]:
    """Replace `generated/` in one step by the rendered files; returns them.

    Raises:
        PrerequisiteError: the directory cannot be written; the old files stay intact.
    """
    files = rendered_files(loaded)
    write_tree_atomically(loaded.generated, files)
    return files


def check_rendered(loaded: LoadedInstance) -> tuple[Difference, ...]:
    """Compare `generated/` with what the instance renders to; writes nothing."""
    wanted = rendered_files(loaded)
    present = _files_below(loaded.generated)
    found = [Difference(path, Kind.MISSING) for path in wanted.keys() - present]
    found += [Difference(path, Kind.SUPERFLUOUS) for path in present - wanted.keys()]
    for path in wanted.keys() & present:
        if _content(loaded.generated / path) != wanted[path]:
            found.append(Difference(path, Kind.CHANGED))
    return tuple(sorted(found, key=lambda difference: difference.path))


def _files_below(directory: Path) -> set[str]:
    if not directory.is_dir():
        return set()
    return {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"cannot be read: {error.strerror or error}", where=str(path)
        ) from error
