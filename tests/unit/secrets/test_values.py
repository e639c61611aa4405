"""A secret value does not show itself by accident."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback

import pytest

from agency.secrets.values import SecretValue

CANARY = "canary-7f3a9c1e5b"


def test_reveal_returns_the_value() -> None:
    assert SecretValue(CANARY).reveal() == CANARY


@dataclasses.dataclass
class Holder:
    token: SecretValue


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        lambda value: f"{value}",
        lambda value: f"{value!r:>80}",
        lambda value: f"{value:>80}",
        lambda value: "%s %r" % (value, value),  # noqa: UP031 - one more way to show it
        "{}".format,
        lambda value: repr([value]),
        lambda value: repr(Holder(value)),
        lambda value: repr(dataclasses.asdict(Holder(value))),
        lambda value: json.dumps({"token": value}, default=str),
        lambda value: repr(copy.copy(value)) + repr(copy.deepcopy(value)),
        lambda value: repr(getattr(value, "__dict__", None)),
        lambda value: str(value.digest()),
    ],
)
def test_no_way_of_showing_it_shows_it(show: object) -> None:
    assert callable(show)
    assert CANARY not in show(SecretValue(CANARY))


def fail_with(value: SecretValue) -> None:
    raise RuntimeError("failed with", value)


def test_it_is_not_in_logs_or_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    value = SecretValue(CANARY)
    logging.getLogger("test").warning("token %s %r", value, {"t": value})
    with pytest.raises(RuntimeError) as caught:
        fail_with(value)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "[secret]" in "".join(shown.format())
    assert CANARY not in "".join(shown.format())
    assert CANARY not in caplog.text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_cannot_be_pickled(protocol: int) -> None:
    with pytest.raises(TypeError) as caught:
        pickle.dumps(SecretValue(CANARY), protocol)
    assert CANARY not in str(caught.value)


def test_it_cannot_be_serialised_or_changed() -> None:
    value = SecretValue(CANARY)
    with pytest.raises(TypeError):
        json.dumps(value)
    with pytest.raises(AttributeError):
        value._value = "other"
    with pytest.raises(AttributeError):
        del value._value
    with pytest.raises(TypeError):
        hash(value)
    assert value.reveal() == CANARY


def test_equality() -> None:
    assert SecretValue("a") == SecretValue("a")
    assert SecretValue("a") != SecretValue("b")
    assert SecretValue("ä") == SecretValue("ä")
    assert SecretValue("a") != "a"


def test_digests_compare_within_one_process() -> None:
    assert SecretValue("a").digest() == SecretValue("a").digest()
    assert SecretValue("a").digest() != SecretValue("b").digest()
    assert len(SecretValue("a").digest()) == 16
