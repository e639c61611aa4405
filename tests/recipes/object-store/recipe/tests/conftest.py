import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

REGION = "eu-coop-1"
BUCKET, LARGE = "/archive", "/archive/film.bin"
PART_BYTES, PARTS = 10 * 1024 * 1024, 10


def part(number, marker):
    """One part of the large object: bytes that no compression shortens, of this run."""
    blocks = PART_BYTES // 64
    seed = f"{marker} {number}".encode()
    return b"".join(hashlib.sha512(seed + at.to_bytes(4, "big")).digest() for at in range(blocks))


def _sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


@pytest.fixture
def s3(app, app_secrets):
    """Ask the server as root, signed (AWS Signature Version 4)."""

    def s3(method, path, body=b"", query="", **headers):
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        signed = {"host": app.domain, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        asked = "\n".join([method, quote(path), query, lines, names, digest])
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        told = hashlib.sha256(asked.encode()).hexdigest()
        key = b"AWS4" + app_secrets["root_key"].encode()
        for word in (now[:8], REGION, "s3", "aws4_request"):
            key = _sign(key, word)
        signature = _sign(key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{told}").hex()
        authorization = (
            f"AWS4-HMAC-SHA256 Credential=root/{scope},SignedHeaders={names},Signature={signature}"
        )
        place = f"{path}?{query}" if query else path
        sent = {**signed, **headers, "Authorization": authorization}
        sent.pop("host")
        return app.request(method, place, body=body, headers=sent)

    return s3
