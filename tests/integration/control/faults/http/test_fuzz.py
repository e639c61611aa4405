"""Requests made from the OpenAPI description, whole and broken, to a control plane that runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests
import schemathesis
from http_api import ALICE, Client, client_for, url_of
from hypothesis import HealthCheck, settings

from agency.control.api import openapi

QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def alice(shared: Any) -> Client:
    return client_for(shared, ALICE)


def without_tokens() -> dict[str, Any]:
    """The description without its tokens: each request carries one, and none is made up."""
    told = openapi.description()
    del told["components"]["securitySchemes"]
    for path in told["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
    return told


# A body that is too large is refused with 413, which is not among the usual answers to a wrong one.
REFUSED = ["400", "404", "405", "409", "413", "415", "422", "429"]
# Any words are a body of the form; what they are no command for, 422 says.
TAKEN = ["2xx", "404", "409", "422", "429"]
CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {
            "negative_data_rejection": {"expected-statuses": REFUSED},
            "positive_data_acceptance": {"expected-statuses": TAKEN},
        }
    }
)
DESCRIBED = schemathesis.openapi.from_dict(without_tokens(), config=CONFIG)


def fuzzed(case: Any, shared: Any, alice: Client) -> None:
    """Send a case, and check the answer by every rule that there is."""
    if isinstance(case.body, dict) and case.body.get("wait_s"):
        case.body["wait_s"] = min(case.body["wait_s"], 0.2) if _is_number(case.body) else "x"
    case.call_and_validate(
        base_url=url_of(shared), headers={"Authorization": f"Bearer {alice.token}"}, timeout=30
    )


def _is_number(body: dict[str, Any]) -> bool:
    wait_s = body["wait_s"]
    return isinstance(wait_s, int | float) and 0 <= wait_s <= 30


def _fuzzing(operation: Any, examples: int, **more: Any) -> Any:
    """A test of one operation: as one for all of them, all had one id."""
    described = DESCRIBED.include(path=operation.path, method=operation.method)

    @described.parametrize()
    @settings(QUICK, max_examples=examples, **more)
    def test(case: Any, shared: Any, alice: Client) -> None:
        fuzzed(case, shared, alice)

    return test


for each in DESCRIBED.get_all_operations():
    operation = each.ok()
    named = "test_every_answer_is_as_described_" + re.sub(r"\W+", "_", operation.label).lower()
    globals()[named] = _fuzzing(operation, 25, derandomize=True)
    globals()[f"{named}_at_length"] = pytest.mark.thorough(_fuzzing(operation, 500))


def test_the_description_that_it_serves_is_the_one_it_was_made_of(shared: Any) -> None:
    served = requests.get(f"{url_of(shared)}/api/v1/openapi.json", timeout=5)
    assert served.json() == openapi.description()


def test_after_all_of_it_commands_run_and_the_log_is_whole(shared: Any, alice: Client) -> None:
    assert alice.give("ping", "after", wait_s=10).json()["state"] == "done"
    assert shared.verify() == 0
    assert b"a request failed" not in shared.log.read_bytes()
