"""Keys of what a request carries: known to aiohttp, and to the one of nixpkgs that has none."""

import warnings

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agency.web import request_key


@pytest.fixture
def request_() -> web.Request:
    return make_mocked_request("GET", "/")


def test_a_value_is_carried_without_a_warning(request_: web.Request) -> None:
    key = request_key("agency.test", str)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        request_[key] = "value"
    assert request_[key] == request_.get(key) == "value"


def test_an_older_aiohttp_gets_a_text(
    request_: web.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(web, "RequestKey", raising=False)
    key = request_key("agency.test", str)
    assert key == "agency.test"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the newer one, which this is
        request_[key] = "value"
    assert request_[key] == "value"
