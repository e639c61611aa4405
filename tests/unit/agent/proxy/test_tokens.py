"""Tokens whose digests are in files, made anew at each start of an agent; providers without key."""

from __future__ import annotations

import json

import pytest
from proxied import TOKENS, digest, proxied, settings
from pydantic import ValidationError
from scripted_model import Turn, scripted

from agency.agent.models.client import Endpoint, ModelClient, ModelLimits
from agency.agent.models.conversation import ModelRequest, UserMessage
from agency.agent.models.faults import ModelRefusedError
from agency.agent.proxy.config import ProxyConfig
from agency.files import write_atomically
from agency.secrets import SecretValue


async def ask(url: str, token: str, model: str = "small") -> str:
    wire = {"small": "openai", "claude": "anthropic"}[model]
    endpoint = Endpoint(url, SecretValue(token), wire)
    async with ModelClient(endpoint, ModelLimits(tries=1, whole_s=20)) as client:
        return (await client.ask(ModelRequest(model, (UserMessage("hello"),), 100))).text


async def test_a_token_counts_as_long_as_its_digest_is_in_the_file(tmp_path):
    place = tmp_path / "pm.sha256"
    account = {"tokenSha256": None, "tokenFile": str(place)}
    script = [Turn("one"), Turn("two"), Turn("three")]
    async with scripted(*script) as model, proxied(model.url, tmp_path, account=account) as proxy:
        with pytest.raises(ModelRefusedError, match="valid token"):
            await ask(proxy.url, "first-token-of-pm")
        assert await ask(proxy.url, TOKENS["developer"]) == "one"  # the others go on
        write_atomically(place, digest("first-token-of-pm").encode())
        assert await ask(proxy.url, "first-token-of-pm") == "two"
        write_atomically(place, digest("second-token-of-pm").encode() + b"\n")
        assert await ask(proxy.url, "second-token-of-pm") == "three"
        for content in (None, b"", b"0" * 63, digest("second-token-of-pm").encode() * 2, b"\xff"):
            place.unlink(missing_ok=True)
            if content is not None:
                write_atomically(place, content)
            for token in ("first-token-of-pm", "second-token-of-pm"):
                with pytest.raises(ModelRefusedError, match="valid token"):
                    await ask(proxy.url, token)
        assert len(model.asked) == len(script)


@pytest.mark.parametrize("model", ["small", "claude"])
async def test_a_provider_without_a_key_is_sent_none(tmp_path, model):
    async with scripted(Turn("hello"), Turn("hello")) as provider:
        bare = settings(provider.url, tmp_path / "unused.db")["providers"]
        for each in bare.values():
            del each["credential"]
        async with proxied(provider.url, tmp_path, providers=bare) as proxy:
            assert await ask(proxy.url, TOKENS["pm"], model) == "hello"
        with_key = tmp_path / "with-key"
        with_key.mkdir()
        async with proxied(provider.url, with_key) as proxy:
            assert await ask(proxy.url, TOKENS["pm"], model) == "hello"
    without, control = ({name.lower() for name in each.headers} for each in provider.asked)
    keys = {"authorization", "x-api-key"}
    assert not without & keys
    assert control & keys
    assert without & {"anthropic-version"} == control & {"anthropic-version"}


@pytest.mark.parametrize(
    ("account", "complaint"),
    [
        ({"tokenSha256": None}, "either tokenSha256 or tokenFile"),
        ({"tokenFile": "/run/pm.sha256"}, "either tokenSha256 or tokenFile"),
    ],
)
def test_an_account_has_exactly_one_kind_of_token(tmp_path, account, complaint):
    told = settings("http://127.0.0.1:1", tmp_path / "ledger.db", account=account)
    with pytest.raises(ValidationError, match=complaint):
        ProxyConfig.model_validate_json(json.dumps(told))


def test_two_accounts_do_not_share_a_file(tmp_path):
    told = settings("http://127.0.0.1:1", tmp_path / "ledger.db")
    for each in told["accounts"].values():
        each |= {"tokenSha256": None, "tokenFile": "/run/both.sha256"}
    with pytest.raises(ValidationError, match="one token"):
        ProxyConfig.model_validate_json(json.dumps(told))
