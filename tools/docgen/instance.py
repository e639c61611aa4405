"""Generator of docs/instance.md, the reference of instance.yaml, from the model.

`python tools/docgen/instance.py docs/instance.md` writes it; a test fails if the page is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agency import naming
from agency.instance.reading.dependencies import DEPENDENCIES
from agency.instance.reading.schema import instance_schema

_INTRODUCTION = """# instance.yaml

Generated from the model by `python tools/docgen/instance.py docs/instance.md`; do not edit.

An instance is a private git repository with the facts of one deployment. `agency init` makes it,
also in a directory or a fresh clone that is there already; `instance.yaml` is then edited by
hand:

```console
$ $EDITOR instance.yaml
$ agency check          # every mistake, with its line and what would be right
$ agency render         # writes generated/, which Nix and Matrix read
$ git commit -am "..."  # a flake sees only what git tracks
```

The commands find the instance in the working directory, in `instance` below it, or in a directory
above, up to the top of the repository. `agency doctor` looks at the machine, the key and git too.

Its first line names `generated/instance.schema.json`, by which editors with yaml-language-server
complete and check keys. `agency schema` prints the same. What only several fields together decide
(a port that is taken, a service that lacks another) is in `agency check` alone.

The file is strict YAML: no anchors, tags, merge keys, tabs, or keys that are there twice; `no`,
`on` and numbers are put in quotes where text is meant.
"""
_AFTER = f"""## Services that need others

`agency check` refuses a service without those that it needs, as the NixOS modules do. `agency
init` turns them on too, and says so. Recipe CI needs a forge besides: `gitlab`, or
`forge`.

{{dependencies}}

## Rules between fields

- Each operator has an account on the instance's own homeserver (`domain`), unless
  `services.matrix.federation` is on: nobody else could be in the control room.
- An operator is a person: neither `@{naming.CONTROL_LOCALPART}` nor `@{naming.AGENT_PREFIX}...`
  of the domain.
- Uids and ports of agents come from a hash of the name, or are set. Two agents, or an agent and a
  service of the machine (such as PostgreSQL, the swarm or k3s), never share one.
- There is one forge: `forge` is left out where `services.gitlab` is on. The engine `gitea-actions`
  is a part of Gitea, so it needs one.
- A task loop and the coding contract need a workspace. Limits, `egress` and features are for agents
  that are units of a host: `runtime: docker` refuses them, and `agency up` says which do not run. A
  host can set each otherwise, under `agency.agents.NAME` in `host.nix` ([options.md](options.md)).
- A recipe is deployed at `RECIPE.ci.DOMAIN`, where Traefik routes it.
- With `secrets.provider: sops` there is at least one recipient, and the same ones stand in
  `.sops.yaml` and in the encrypted file ([secrets.md](secrets.md)).
"""
# The order in which the file is read; every definition of the schema is one of these.
_TITLES = {
    "": "The file",
    "Services": "services",
    "MatrixService": "services.matrix",
    "CiService": "services.ci",
    "Toggle": "Every other service",
    "Agent": "agents.NAME",
    "AgentProgram": "agents.NAME.program",
    "Budget": "agents.NAME.program.budget",
    "AgentLimits": "agents.NAME.limits",
    "Egress": "agents.NAME.egress, each",
    "Workspace": "agents.NAME.workspace",
    "Browser": "agents.NAME.browser",
    "TaskLoop": "agents.NAME.taskLoop",
    "Issues": "agents.NAME.taskLoop.issues",
    "CodingAgent": "agents.NAME.codingAgent",
    "Models": "models",
    "ModelProvider": "models.providers.NAME",
    "OfferedModel": "models.offered.NAME",
    "ModelPrice": "models.offered.NAME.price",
    "Alerts": "alerts",
    "AlertMail": "alerts.mail",
    "ForeignForge": "forge",
    "Recipe": "recipes.NAME",
    "Backup": "backup",
    "Docker": "docker",
    "Approvals": "approvals",
    "OptionalRooms": "rooms",
    "ApprovalRule": "approvals.rules.NAME",
    "SecretsPolicy": "secrets",
}


_MANY = 10


def page() -> str:
    """Render the whole page as Markdown."""
    schema = instance_schema()
    parts = {"": schema, **schema["$defs"]}
    if parts.keys() != _TITLES.keys():
        sys.exit(f"the page has no place for {sorted(parts.keys() ^ _TITLES.keys())}")
    sections = [_section(title, parts[name]) for name, title in _TITLES.items()]
    after = _AFTER.replace("{dependencies}", "\n".join(_dependencies()))
    return "\n".join([_INTRODUCTION, *sections, after])


def _section(title: str, part: dict[str, Any]) -> str:
    return f"## {title}\n\n" + "\n".join(_rows(part)) + "\n"


def _rows(part: dict[str, Any]) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    needed = part.get("required", [])
    for key, one in part["properties"].items():
        default = "needed" if key in needed else _default(one)
        yield f"| `{key}` | {_value(one)} | {default} | {one['description']} |"


def _default(one: dict[str, Any]) -> str:
    default = one.get("default")
    return "-" if default is None or isinstance(default, dict) else f"`{json.dumps(default)}`"


def _choice(values: list[str]) -> str:
    """Write the values of a choice; many commands of one noun are written as `noun` VERB, VERB."""
    if len(values) <= _MANY or not all(" " in value for value in values):
        return ", ".join(f"`{value}`" for value in values)
    verbs: dict[str, list[str]] = {}
    for value in values:
        noun, _, verb = value.partition(" ")
        verbs.setdefault(noun, []).append(verb)
    return "; ".join(f"`{noun}` and one of {', '.join(each)}" for noun, each in verbs.items())


def _value(one: dict[str, Any]) -> str:
    if "anyOf" in one:
        return _value(next(kind for kind in one["anyOf"] if kind.get("type") != "null"))
    if "$ref" in one:
        return "mapping, below"
    if "const" in one:
        return f"`{one['const']}`"
    if "enum" in one:
        return _choice(one["enum"])
    kind = one.get("type")
    if kind == "array":
        return f"list of {_value(one['items'])}"
    if kind == "object":
        return f"names to {_value(one['additionalProperties'])}"
    if kind == "integer":
        lowest, highest = one.get("minimum"), one.get("maximum", one.get("exclusiveMaximum", 1) - 1)
        return f"{lowest} to {highest}"
    if kind == "string" and "maxLength" in one:
        return f"text of at most {one['maxLength']}"
    texts = {"boolean": "`true`, `false`", "string": "text", "number": "number"}
    return texts[str(kind)]


def _dependencies() -> Iterator[str]:
    yield "| service | needs | because |"
    yield "|---|---|---|"
    for one in DEPENDENCIES:
        yield f"| `{one.service}` | `{one.needs}` | {one.why} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
