"""Events of an operation: each once, the end always, from wherever a client goes on."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agency.control.api import models
from agency.control.api.events import Seen, news

STATES = ("proposed", "waiting", "granted", "running", "done")


def operation(state: str, reports: int) -> models.Operation:
    facts: dict[str, Any] = dict.fromkeys(
        ("id", "command", "action", "target", "actor", "digest", "trace", "created", "deadline"), ""
    )
    return models.Operation(
        **facts,
        state=state,  # type: ignore[arg-type]
        final=state == "done",
        origin="http",
        waits=None,
        reports=[models.Report(number=n, text=str(n)) for n in range(1, reports + 1)],
        reply=None,
    )


LIVES = st.lists(st.integers(0, 3), min_size=len(STATES), max_size=len(STATES)).map(
    lambda more: [operation(state, sum(more[: index + 1])) for index, state in enumerate(STATES)]
)


@given(LIVES, st.data())
def test_wherever_the_connection_breaks_every_report_comes_once_and_the_end_last(
    life: list[models.Operation], data: Any
) -> None:
    got: list[tuple[str, str]] = []
    seen, last = Seen(), ""
    for now in life:
        if data.draw(st.booleans(), label="lost"):
            seen = Seen.of(last)
        seen, events = news(seen, now)
        keeps = data.draw(st.integers(0, len(events)), label="arrived")
        if now.final:
            keeps = len(events)
        for event in events[:keeps]:
            got.append((event.kind, event.data))
            last = event.id
        if keeps < len(events):
            seen = Seen.of(last)  # the client comes back with what arrived
    reports = [told for kind, told in got if kind == "report"]
    assert len(reports) == len(life[-1].reports) == len(set(reports))
    assert got[-1][0] == "end"
    assert [kind for kind, _ in got].count("end") == 1


def test_the_end_comes_again_to_who_asks_again() -> None:
    done = operation("done", 2)
    _, events = news(Seen.of("2.done"), done)
    assert [event.kind for event in events] == ["end"]


@given(st.text())
def test_an_id_of_another_form_is_the_beginning(text: str) -> None:
    seen = Seen.of(text)
    assert seen == Seen() or str(Seen(seen.report, seen.state)).split(".")[1] in text
