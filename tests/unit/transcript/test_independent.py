"""Others, who share no code with us, accept what we sign and refuse what was changed."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement as InTotoStatement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from agency.transcript.rules.v2.model import Statement
from agency.transcript.schema import schema
from agency.transcript.signing import sign

OPENSSL = shutil.which("openssl")


@pytest.fixture
def envelope(statement: Statement, key: Ed25519PrivateKey) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(sign(statement, key))
    return data


def _openssl(directory: Path, message: bytes, signature: bytes, pem: bytes) -> int:
    assert OPENSSL is not None
    (directory / "message").write_bytes(message)
    (directory / "signature").write_bytes(signature)
    (directory / "key.pem").write_bytes(pem)
    argv = [OPENSSL, "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin"]
    argv += ["-in", "message", "-sigfile", "signature"]
    return subprocess.run(argv, cwd=directory, capture_output=True, timeout=30).returncode


@pytest.mark.skipif(OPENSSL is None, reason="the openssl program is not installed")
def test_openssl_verifies_the_signature_over_a_hand_made_encoding(
    envelope: dict[str, Any], pem: bytes, tmp_path: Path,
    pre_authentication: Callable[[str, bytes], bytes],
) -> None:  # fmt: skip
    payload = base64.b64decode(envelope["payload"])
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    message = pre_authentication(envelope["payloadType"], payload)
    assert message.startswith(b"DSSEv1 28 application/vnd.in-toto+json ")
    assert _openssl(tmp_path, message, signature, pem) == 0
    assert _openssl(tmp_path, message + b" ", signature, pem) != 0
    assert _openssl(tmp_path, message, bytes(64), pem) != 0


def test_the_in_toto_library_accepts_the_statement(envelope: dict[str, Any]) -> None:
    payload = base64.b64decode(envelope["payload"])
    parsed = json_format.Parse(payload, statement_pb2.Statement())
    statement = InTotoStatement.copy_from_pb(parsed)
    statement.validate()
    assert statement.pb.predicate_type == "urn:agency:spinup-transcript:v2"
    assert statement.pb.subject[0].digest["gitCommit"] == "b2" * 20
    assert statement.pb.predicate["result"] == "PASSED"
    del parsed.subject[0].digest["sha256"]
    parsed.subject[0].digest.clear()
    with pytest.raises(ValueError, match="digest required"):
        InTotoStatement.copy_from_pb(parsed).validate()


def test_securesystemslib_verifies_the_envelope(envelope: dict[str, Any], pem: bytes) -> None:
    key = SSlibKey.from_crypto(load_pem_public_key(pem))
    key.keyid = ""  # as in the envelope: this library skips signatures of other ids
    accepted = Envelope.from_dict(json.loads(json.dumps(envelope))).verify([key], 1)
    assert list(accepted) == [""]
    changed = Envelope.from_dict(envelope)
    changed.payload += b" "
    with pytest.raises(VerificationError):
        changed.verify([key], 1)


def test_jsonschema_accepts_the_payload(envelope: dict[str, Any]) -> None:
    document = json.loads(base64.b64decode(envelope["payload"]))
    jsonschema.validate(document, schema())
    document["predicate"]["result"] = "MAYBE"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema())
