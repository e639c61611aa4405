"""Check of the Gosuto that an agent is given. It holds the document, and enforces nothing of it."""

from __future__ import annotations

from agency.canonical import sha256_hex
from agency.errors import AgencyError


def check_document(agent: str, content: bytes) -> None:
    """Check that bytes are a Gosuto of this agent, in a format that this program reads.

    Raises:
        ValueError: they are not.
    """
    from agency.gosuto import read_canonical  # heavy: an agent without a document does not need it

    try:
        document = read_canonical(content, sha256_hex(content))
    except AgencyError as error:
        raise ValueError(error.message) from None
    if document.metadata.name != agent:
        raise ValueError(f"this is the Gosuto of {document.metadata.name}, not of {agent}")
