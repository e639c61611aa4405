import base64

import pytest


@pytest.fixture
def publisher(app_secrets):
    """Headers of the one who may publish."""
    pair = f"publisher:{app_secrets['publish_password']}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
