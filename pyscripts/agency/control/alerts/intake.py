"""Intake of alerts: store the message about what is new, and only then acknowledge it.

    Alertmanager ──body──▶ read ──▶ alerts not told yet ──▶ outbox ──▶ control room
         ▲                             (one transaction of the store)
         └── BusyError: HTTP 503, deliver again: Alertmanager keeps what it could not deliver

Alertmanager is the queue: it groups, and forgets what is over before it could be told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection

from agency.control.alerts.delivery import Delivery, read_delivery
from agency.control.alerts.wording import News, headline, tell
from agency.control.conditions import Code, Conditions
from agency.control.rooms.speaking import Speaker
from agency.control.store import alerts
from agency.control.store.outbox import StoredMessage

MOST_AN_HOUR = 30  # messages; further groups wait in Alertmanager
AGAIN_MS = 20 * 3600 * 1000  # under a day: Alertmanager repeats what fires once a day
_HOUR_MS = 3600 * 1000
_MOST_NAMED = 20
# The room is there, and commands are only late.
_NO_HINDRANCE = frozenset({Code.TRANSACTION_REFUSED})


class BusyError(Exception):
    """Alerts cannot be told now; Alertmanager should deliver them again."""


@dataclass(slots=True)
class AlertIntake:
    """Intake of Alertmanager's deliveries."""

    speaker: Speaker
    conditions: Conditions
    redact: Callable[[str], str]
    counts: Counter[str] = field(default_factory=Counter)

    async def take(self, body: bytes) -> int:
        """Store the message about a delivery's new alerts; return the number of these.

        When this returns, the message is on disk. Delivered again, an alert is not told again.

        Raises:
            MalformedAlertsError: the body is no delivery.
            BusyError: there is no room, the outbox is full, or too much was told.
            SQLAlchemyError: it could not be stored.
        """
        delivery = read_delivery(body)
        room_id = self.speaker.room_id()
        hindered = any(
            each.blocks and each.code not in _NO_HINDRANCE for each in self.conditions.present()
        )
        if room_id is None or hindered:
            raise BusyError("the control room cannot be used")
        database = self.speaker.database
        queued, number = await database.write(lambda c: self._store(c, delivery, room_id))
        self.counts["told"] += number
        self.counts["known"] += len(delivery.alerts) - number
        if queued is not None:
            self.speaker.say(queued)
        return number

    def _store(
        self, connection: Connection, delivery: Delivery, room_id: str
    ) -> tuple[StoredMessage | None, int]:
        now_ts = self.speaker.clock.now_ms()
        news = list(
            _news(delivery, alerts.told(connection, [each.key for each in delivery.alerts]), now_ts)
        )
        if not news:
            return None, 0
        if alerts.notices_since(connection, now_ts - _HOUR_MS) >= MOST_AN_HOUR:
            raise BusyError("too many alerts were told in the last hour")
        if self.speaker.is_crowded(connection):
            raise BusyError("too many messages wait")
        queued = self.speaker.queue(
            connection,
            tell(news, delivery.left_out, self.redact),
            room_id,
            rings=any(each.alert.firing for each in news),
            about={"alerts": self._about(news)},
        )
        assert queued is not None  # each has a trace of its own
        notice = queued.message.txn_id
        alerts.add(connection, (each.alert.key for each in news), notice, now_ts)
        return queued, len(news)

    def _about(self, news: list[News]) -> list[dict[str, object]]:
        """Name the alerts, for programs that look for one in the room."""
        return [
            {"name": headline(each.alert, self.redact), "firing": each.alert.firing}
            for each in news[:_MOST_NAMED]
        ]


def _news(delivery: Delivery, told: dict[str, int], now_ts: int) -> Iterator[News]:
    """Find what was not told yet, each once, and what fires since it was told long ago."""
    for alert in {each.key: each for each in delivery.alerts}.values():
        told_ts = told.get(alert.key)
        if told_ts is None:
            yield News(alert)
        elif alert.firing and now_ts - told_ts >= AGAIN_MS:
            yield News(alert, again=True)
