"""Types that describe a secret: class, generator, specification."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SecretClass(StrEnum):
    """Class of a secret: its source and its lifetime."""

    A1 = "A1"  # external input: an operator brings it
    A2 = "A2"  # internal: `agency init` generates it with the instance
    B = "B"  # per run: generated when a run starts, gone when it ends
    C = "C"  # CI token: issued by the instance's own forge or CI once that runs


class Generator(StrEnum):
    """Method that makes a secret, with the form of its value."""

    EXTERNAL = "external"
    TOKEN = "token"  # noqa: S105 - 32 random bytes, URL-safe base64
    HEX = "hex"  # 64 random bytes, 128 hexadecimal digits
    PASSWORD = "password"  # noqa: S105 - 24 letters and digits
    ED25519 = "ed25519"  # private key, PKCS8 PEM
    RSA = "rsa"  # 2048-bit private key, PKCS8 PEM
    SSH = "ssh"  # Ed25519 private key, OpenSSH format
    SYNAPSE = "synapse"  # a homeserver signing key in Synapse's one-line format


@dataclass(frozen=True, slots=True)
class SecretSpec:
    """One secret: its purpose, its source and its readers.

    `owner` and `mode` belong to its file. `consumers` are the units that read it; those in
    `restarts` are restarted when it changes. A missing `optional` secret blocks nothing.

    `form` names the catalogue's form of its value. `days` is the time between rotations, None for
    "only when it is exposed"; `procedure` names the way, which `how` and `note` describe, and
    `costs` says what it costs. Of a certificate, `private_key` is the name of its key, and `hosts`
    are the names that it must cover. `feature` is the feature of an agent that only a host
    declares, and that needs it.
    """

    name: str
    cls: SecretClass
    description: str
    generator: Generator
    consumers: tuple[str, ...]
    restarts: tuple[str, ...]
    owner: str
    mode: str
    instructions: str = ""
    optional: bool = False
    form: str = "text"
    days: int | None = None
    procedure: str = ""
    how: str = ""
    note: str = ""
    costs: str = ""
    private_key: str = ""
    hosts: tuple[str, ...] = ()
    feature: str = ""

    @property
    def stored(self) -> bool:
        """True if the secret is kept in the instance's encrypted file."""
        return self.cls in {SecretClass.A1, SecretClass.A2}
