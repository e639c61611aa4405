"""Types of the single values: each says its own fault, and has the same rule as a JSON Schema."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agency import naming
from agency.instance.fields.letters import holds_password, not_this, odd_letter, sends_in_clear
from agency.secrets import names
from agency.unwritten import FEATURES

# Matrix specification v1.11, appendices: a user id has at most 255 bytes, with its sigil.
MAX_MATRIX_ID = 255
MAX_REPOSITORY = 255
MAX_IMAGE = 255

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN_PATTERN = rf"({_LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?"
MATRIX_ID_PATTERN = rf"@[a-z0-9._=/+-]+:{_LABEL}(\.{_LABEL})*(:[0-9]{{1,5}})?"
RECIPIENT_PATTERN = "age1[02-9ac-hj-np-z]{58}"
# Not a dot or a dash first: neither a step up in a path nor an option of a program.
_PART = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
REPOSITORY_PATTERN = f"{_PART}(/{_PART})+"

# A subset of what mail knows, without what the configuration's readers would take for theirs.
ADDRESS_PATTERN = rf"[A-Za-z0-9._+-]{{1,64}}@({_LABEL}\.)*{_LABEL}"
SMARTHOST_PATTERN = rf"({_LABEL}\.)*{_LABEL}:[1-9][0-9]{{0,4}}"
MAX_ADDRESS = 254

# Schemes of restic's repositories, and an alphabet that needs no escaping.
_PLACE = "[A-Za-z0-9._~@:/+-]{1,400}"
BACKUP_PATTERN = f"/{_PLACE}|(sftp|s3|rest|b2|azure|swift):{_PLACE}"
MAX_BACKUP = 410

_BACKUP = re.compile(BACKUP_PATTERN)
_IMAGE = re.compile(naming.IMAGE_NAME_PATTERN)
_IMAGE_ID = re.compile(naming.IMAGE_ID_PATTERN)
_DOMAIN = re.compile(DOMAIN_PATTERN)
_ADDRESS = re.compile(ADDRESS_PATTERN)
_SMARTHOST = re.compile(SMARTHOST_PATTERN)
_MATRIX_ID = re.compile(MATRIX_ID_PATTERN)
_RECIPIENT = re.compile(RECIPIENT_PATTERN)
_REPOSITORY = re.compile(REPOSITORY_PATTERN)


def _name(text: str) -> str:
    if not naming.is_name(text):
        raise _not_a_name(text, naming.MAX_NAME)
    return text


def _agent_name(text: str) -> str:
    if not naming.is_agent_name(text):
        raise _not_a_name(text, naming.MAX_AGENT_NAME)
    return text


def _not_a_name(text: str, most: int) -> ValueError:
    wanted = f"must be 1 to {most} characters of a-z, 0-9 and inner dashes, and begin with a letter"
    return ValueError(not_this(wanted, text))


def _domain(text: str) -> str:
    if "://" in text:
        bare = text.split("://", 1)[1].strip("/")
        raise ValueError(f"must be a bare domain without a scheme: {bare}")
    if not _DOMAIN.fullmatch(text):
        wanted = "must be a lower-case domain such as agency.example.org"
        raise ValueError(not_this(wanted, text))
    if len(text) > naming.MAX_DOMAIN:
        raise ValueError(
            f"has {len(text)} characters; must have at most {naming.MAX_DOMAIN}, so that the "
            "names of hosts and agents below it keep the limits of DNS and Matrix"
        )
    return text


def _matrix_id(text: str) -> str:
    matched = _MATRIX_ID.fullmatch(text)
    if matched is None:
        wanted = "must be a full Matrix id such as @alice:agency.example.org"
        raise ValueError(not_this(wanted, text))
    if len(text) > MAX_MATRIX_ID:
        raise ValueError(f"has {len(text)} characters; a Matrix id has at most {MAX_MATRIX_ID}")
    port = text.split(":")[2:]
    if port and not 0 < int(port[0]) < 2**16:
        raise ValueError(f"has the port {port[0]}; a port is 1 to 65535")
    return text


def _feature(text: str) -> str:
    if text not in FEATURES:
        waiting = f"one of {', '.join(FEATURES)}" if FEATURES else "left out: all are written"
        raise ValueError(f"is not a feature whose program is unwritten; must be {waiting}")
    return text


def _age_recipient(text: str) -> str:
    if text.upper().startswith("AGE-SECRET-KEY-"):
        raise ValueError(
            "this is a private key, and it is exposed now: make a new one with age-keygen, and "
            "list its public key, which begins with age1"
        )
    if not _RECIPIENT.fullmatch(text):
        odd = odd_letter(text)  # never the text: a secret may have been put here
        raise ValueError(
            "must be an age public key: age1 and 58 more characters" + (f": {odd}" if odd else "")
        )
    return text


def _repository(text: str) -> str:
    if not _REPOSITORY.fullmatch(text) or len(text) > MAX_REPOSITORY:
        wanted = "must be owner/name on the forge, such as recipes/hedgedoc"
        raise ValueError(not_this(wanted, text))
    return text


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text) or len(text) > MAX_IMAGE:
        wanted = "must be a name and a tag such as agency-agent:0.1.0"
        raise ValueError(not_this(wanted, text))
    return text


def _image_id(text: str) -> str:
    if not _IMAGE_ID.fullmatch(text):
        wanted = "must be sha256: and 64 digits of 0-9 and a-f, as `make agent-image` prints it"
        raise ValueError(not_this(wanted, text))
    return text


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text) or len(text) > MAX_ADDRESS:
        raise ValueError(not_this("must be a mail address such as ops@example.org", text))
    return text


def _smarthost(text: str) -> str:
    wanted = "must be a host and its port such as mail.example.org:587"
    if not _SMARTHOST.fullmatch(text) or len(text) > MAX_ADDRESS:
        raise ValueError(not_this(wanted, text))
    port = int(text.rpartition(":")[2])
    if port >= 2**16:
        raise ValueError(f"has the port {port}; a port is 1 to 65535")
    return text


def _backup_place(text: str) -> str:
    if holds_password(text):  # never the text
        raise ValueError(
            "holds a password; leave it out, and put it in with "
            f"`agency secrets set {names.BACKUP_CREDENTIALS}`"
        )
    if sends_in_clear(text):
        raise ValueError("sends its credentials in clear: write https:// in place of http://")
    if not _BACKUP.fullmatch(text):
        wanted = "must be a path, or a place of restic's such as sftp:user@host:/path"
        raise ValueError(not_this(wanted, text))
    return text


def _schema(pattern: str, longest: int, **more: str | list[str]) -> dict[str, object]:
    return {"pattern": f"^(?:{pattern})$", "minLength": 1, "maxLength": longest, **more}


Name = Annotated[
    str,
    AfterValidator(_name),
    Field(json_schema_extra=_schema(naming.NAME_PATTERN, naming.MAX_NAME)),
]
AgentName = Annotated[
    str,
    AfterValidator(_agent_name),
    Field(json_schema_extra=_schema(naming.AGENT_NAME_PATTERN, naming.MAX_AGENT_NAME)),
]
Domain = Annotated[
    str,
    AfterValidator(_domain),
    Field(json_schema_extra=_schema(DOMAIN_PATTERN, naming.MAX_DOMAIN)),
]
MatrixId = Annotated[
    str,
    AfterValidator(_matrix_id),
    Field(json_schema_extra=_schema(MATRIX_ID_PATTERN, MAX_MATRIX_ID)),
]
Feature = Annotated[
    str, AfterValidator(_feature), Field(json_schema_extra={"enum": list(FEATURES)})
]
# What an approval rule can ask for: commands that change an agent or a secret.
GatedCommand = Literal[
    "agents start",
    "agents stop",
    "agents restart",
    "agents disable",
    "agents enable",
    "agents respawn",
    "agents cancel",
    "agents create",
    "agents delete",
    "agents matrix-register",
    "agents matrix-login",
    "backups create",
    "config set",
    "gosuto set",
    "gosuto rollback",
    "gosuto push",
    "secrets set",
    "secrets rotate",
    "secrets delete",
    "secrets bind",
    "secrets unbind",
    "secrets push",
]
AgeRecipient = Annotated[
    str,
    AfterValidator(_age_recipient),
    Field(json_schema_extra=_schema(RECIPIENT_PATTERN, 62)),
]
Repository = Annotated[
    str,
    AfterValidator(_repository),
    Field(json_schema_extra=_schema(REPOSITORY_PATTERN, MAX_REPOSITORY)),
]
ImageName = Annotated[
    str,
    AfterValidator(_image),
    Field(json_schema_extra=_schema(naming.IMAGE_NAME_PATTERN, MAX_IMAGE)),
]
ImageId = Annotated[
    str,
    AfterValidator(_image_id),
    Field(json_schema_extra=_schema(naming.IMAGE_ID_PATTERN, MAX_IMAGE)),
]
Address = Annotated[
    str,
    AfterValidator(_address),
    Field(json_schema_extra=_schema(ADDRESS_PATTERN, MAX_ADDRESS)),
]
Smarthost = Annotated[
    str,
    AfterValidator(_smarthost),
    Field(json_schema_extra=_schema(SMARTHOST_PATTERN, MAX_ADDRESS)),
]
BackupPlace = Annotated[
    str,
    AfterValidator(_backup_place),
    Field(json_schema_extra=_schema(BACKUP_PATTERN, MAX_BACKUP)),
]
