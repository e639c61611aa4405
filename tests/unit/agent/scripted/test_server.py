"""Server of a scripted model: who is answered, and what is refused."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer

from agency.agent.scripted.script import load_script
from agency.agent.scripted.server import build_app
from agency.secrets import SecretValue

KEY = "the-key-of-the-script"
BODY = {"model": "small", "messages": [{"role": "user", "content": "Good day"}]}
PATH = "/v1/chat/completions"


@pytest.fixture
async def client():
    app = build_app(load_script("hello"), SecretValue(KEY))
    async with TestClient(TestServer(app)) as made:
        yield made


async def test_who_has_the_key_is_answered_and_nobody_else(client) -> None:
    for headers in ({}, {"Authorization": "Bearer another"}):
        assert (await client.post(PATH, json=BODY, headers=headers)).status == 401
        assert (await client.get("/v1/models", headers=headers)).status == 401
    headers = {"Authorization": f"Bearer {KEY}"}
    answered = await client.post(PATH, json=BODY, headers=headers)
    said = (await answered.json())["choices"][0]["message"]["content"]
    assert said == "This is a script, and no language model. You said: Good day"
    listed = await (await client.get("/v1/models", headers=headers)).json()
    assert listed["data"][0]["owned_by"] == "a script"


@pytest.mark.parametrize("body", ["{", "[]", '{"model": "x"}', '{"messages": [1]}', "[" * 9000])
async def test_what_is_no_request_is_refused(client, body: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    answered = await client.post(PATH, data=body, headers=headers)
    assert answered.status == 400
