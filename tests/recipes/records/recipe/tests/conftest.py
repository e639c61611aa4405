import base64
import json

import pytest

RECORD = "/v1/buckets/coop/collections/minutes/records/today"


@pytest.fixture
def admin(app_secrets):
    """Headers of the administrator."""
    pair = f"admin:{app_secrets['admin_password']}".encode()
    word = base64.b64encode(pair).decode()
    return {"Authorization": f"Basic {word}", "Content-Type": "application/json"}


@pytest.fixture
def put(app, admin):
    """Put data at a path as the administrator; return the status."""

    def put(path, data):
        return app.put(path, json.dumps({"data": data}), **admin).status

    return put
