"""URLs and hosts in their plain form, compared by their parts. Pure.

A URL that programs read differently is not compared at all: one with a user before an @, a
backslash, letters that are not ASCII, dot segments, escapes that need none or hide a separator,
empty segments, path parameters, or a host that is a number in another notation. Sources: RFC 3986;
WHATWG URL, "Host parsing".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

MAX_URL = 8192
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*\Z")
_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?:#.*)?\Z"
)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::(?P<port>[0-9]*))?\Z")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")
_PORT = re.compile(r"[1-9][0-9]{0,4}\Z")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_NEEDS_NO_ESCAPE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SEPARATORS = frozenset(b"/\\%?#;")


class UnreadableError(ValueError):
    """A text that has no one meaning as a URL or host."""


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of a URL; an empty path and `/` are the same, and so is a slash at its end."""

    scheme: str
    host: str
    port: int
    segments: tuple[str, ...]
    has_query: bool

    @property
    def origin(self) -> str:
        """Scheme, host and port, which is always written."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def is_below(self, prefix: Url) -> bool:
        """Return whether this is `prefix`, or something below it."""
        here = (self.scheme, self.host, self.port)
        if here != (prefix.scheme, prefix.host, prefix.port):
            return False
        return self.segments[: len(prefix.segments)] == prefix.segments


def in_the_clear(text: str) -> bool:
    """Return whether what is sent to a readable URL can be read on a network."""
    url = read_url(text)
    return url.scheme in ("http", "ws") and url.host not in ("127.0.0.1", "[::1]", "::1")


def read_url(text: str) -> Url:
    """Read a URL of the web.

    Raises:
        UnreadableError: it is none, or programs read it differently.
    """
    if len(text) > MAX_URL:
        raise UnreadableError(f"has more than {MAX_URL} characters")
    if not _CHARACTERS.match(text):
        raise UnreadableError("has a character that no URL has; hosts are written with xn--")
    parts = _PARTS.match(text)
    if parts is None or parts["scheme"].lower() not in _PORTS:
        raise UnreadableError("is not a whole URL that begins with http://, https:// or ws")
    scheme = parts["scheme"].lower()
    if "@" in parts["authority"]:
        raise UnreadableError("has a user before the host")
    authority = _AUTHORITY.match(parts["authority"])
    if authority is None:
        raise UnreadableError("has no readable host")
    port = authority["port"]
    if port is not None and not (_PORT.match(port) and int(port) < 2**16):
        raise UnreadableError("has no readable port")
    return Url(
        scheme,
        read_host(authority["host"]),
        _PORTS[scheme] if port is None else int(port),
        _segments(parts["path"]),
        parts["query"] is not None,
    )


def read_host(text: str) -> str:
    """Read a host: a name in ASCII, or an address; return the form in which hosts are compared.

    Raises:
        UnreadableError: it is none, or programs read it differently.
    """
    name = text.lower()
    if name.startswith("["):
        return _address(name)
    labels = name.split(".")
    if _NUMBER.match(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise UnreadableError("has a host that is a number in another notation") from None
    if len(name) > 253 or not all(_LABEL.match(label) for label in labels):
        raise UnreadableError("has a host that is no plain name")
    return name


def _address(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text.strip("[]"))
    except ValueError:
        raise UnreadableError("has a host that is no address") from None
    if address.ipv4_mapped or address.sixtofour or address.teredo:
        raise UnreadableError("has an address of IPv4 inside one of IPv6")
    return f"[{address.compressed}]"


def _segments(path: str) -> tuple[str, ...]:
    segments = path.split("/")[1:]
    if segments and not segments[-1]:
        segments.pop()
    return tuple(map(_segment, segments))


def _segment(text: str) -> str:
    if not text:
        raise UnreadableError("has two slashes in its path")
    if text in (".", ".."):
        raise UnreadableError("has a dot segment in its path")
    if ";" in text:
        raise UnreadableError("has a parameter in its path")
    return _ESCAPE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    if found[1] is None:
        raise UnreadableError("has a percent sign that begins no escape")
    byte = int(found[1], 16)
    if byte in _NEEDS_NO_ESCAPE:
        raise UnreadableError("has an escape of a character that needs none")
    if byte in _SEPARATORS or byte < 0x20 or byte == 0x7F:
        raise UnreadableError("has an escape that hides a separator or a control character")
    return f"%{byte:02X}"
