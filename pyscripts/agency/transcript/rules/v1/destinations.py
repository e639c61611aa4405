"""The addresses that every look at a quarantine tries to reach, as its attempts name them."""

from __future__ import annotations

# Documentation prefixes (RFC 5737, RFC 3849): an attempt could reach nobody even if it got out.
DESTINATIONS = ("tcp://192.0.2.1:443", "udp://198.51.100.53:53", "tcp://[2001:db8::1]:443")
