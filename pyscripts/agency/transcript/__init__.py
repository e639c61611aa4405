"""The signed record of a spin-up: an in-toto Statement in a DSSE envelope.

    spin-up --> model, judge (the newest rules) --> signing --> envelope, a file
                                                                   |
    agency transcript verify <-- judge (the rules it names) <-- verify

Rules, steps and names here are those of the newest version, which spin-ups write. Verification
knows every version (versions.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.lazy import lazy_names

if TYPE_CHECKING:
    from agency.transcript.problems import explain
    from agency.transcript.rules.v1.services import (
        ALWAYS_ENDING,
        ALWAYS_RUNNING,
        CONTROL_UNIT,
        FIREWALL_UNIT,
        HOMESERVER_UNIT,
        SERVICES,
    )
    from agency.transcript.rules.v2.judge import PROBES, STEPS, overall
    from agency.transcript.rules.v2.model import (
        PREDICATE_TYPE,
        STATEMENT_TYPE,
        Predicate,
        Statement,
    )
    from agency.transcript.rules.v2.subjects import SYSTEM, system_digest
    from agency.transcript.signing import load_key, load_or_create_key, public_pem, sign
    from agency.transcript.verification import Report, read_unchecked, verify

__all__ = [
    "ALWAYS_ENDING",
    "ALWAYS_RUNNING",
    "CONTROL_UNIT",
    "FIREWALL_UNIT",
    "HOMESERVER_UNIT",
    "PREDICATE_TYPE",
    "PROBES",
    "SERVICES",
    "STATEMENT_TYPE",
    "STEPS",
    "SYSTEM",
    "Predicate",
    "Report",
    "Statement",
    "explain",
    "load_key",
    "load_or_create_key",
    "overall",
    "public_pem",
    "read_unchecked",
    "sign",
    "system_digest",
    "verify",
]

__getattr__ = lazy_names(
    __name__,
    {
        "ALWAYS_ENDING": "rules.v1.services",
        "ALWAYS_RUNNING": "rules.v1.services",
        "CONTROL_UNIT": "rules.v1.services",
        "FIREWALL_UNIT": "rules.v1.services",
        "HOMESERVER_UNIT": "rules.v1.services",
        "PREDICATE_TYPE": "rules.v2.model",
        "PROBES": "rules.v2.judge",
        "SERVICES": "rules.v1.services",
        "STATEMENT_TYPE": "rules.v2.model",
        "STEPS": "rules.v2.judge",
        "SYSTEM": "rules.v2.subjects",
        "Predicate": "rules.v2.model",
        "Report": "verification",
        "Statement": "rules.v2.model",
        "explain": "problems",
        "load_key": "signing",
        "load_or_create_key": "signing",
        "overall": "rules.v2.judge",
        "public_pem": "signing",
        "read_unchecked": "verification",
        "sign": "signing",
        "system_digest": "rules.v2.subjects",
        "verify": "verification",
    },
)
