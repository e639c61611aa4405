"""The paths of the HTTP interface: what each takes, gives and asks for. Server and description
are made of this one list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agency.control.api import models
from agency.control.api.models import Model

PREFIX = "/api/v1"
JSON, PROBLEM = "application/json", "application/problem+json"
EVENTS, LINES = "text/event-stream", "application/jsonl"

OPERATION_ID = r"op-[0-9a-f]{26}"


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method.

    `rule` is the command whose permission it takes; None: any live token. `open` asks for no token.
    `fails` are the statuses of refusals beside those that every route may give.
    """

    method: str
    path: str
    name: str
    summary: str
    gives: type[Model] | None
    media: str = JSON
    status: int = 200
    also: Mapping[int, str] = field(default_factory=dict)  # other statuses that give the same
    takes: type[Model] | None = None
    query: type[Model] = models.Nothing
    rule: str | None = None
    open: bool = False
    fails: tuple[int, ...] = ()

    @property
    def place(self) -> str:
        """The path from the root of the server."""
        return PREFIX + self.path


ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", "health", "Say that it runs.", models.Health, open=True),
    Route("GET", "/openapi.json", "openapi", "This description.", None, open=True),
    Route(
        "GET",
        "/status",
        "status",
        "Show uptime, agents by state, what waits, what is wrong, and recent errors.",
        models.Status,
        rule="status",
    ),
    Route("GET", "/who", "who", "Say whose token this is.", models.Who),
    Route(
        "POST",
        "/operations",
        "propose",
        "Give a command.",
        models.Operation,
        status=202,
        also={200: "It has ended."},
        takes=models.OperationRequest,
        fails=(409, 415, 422),
    ),
    Route(
        "GET",
        "/operations/{id}",
        "operation",
        "Show an operation.",
        models.Operation,
        rule="audit tail",
        fails=(404,),
    ),
    Route(
        "GET",
        "/operations/{id}/events",
        "events",
        "Follow an operation: an event `report` for each report, `state` for each change of its "
        "state, and `end`, whose data is the operation. With Last-Event-ID what was missed comes "
        "first; the end always comes.",
        None,
        media=EVENTS,
        rule="audit tail",
        fails=(404,),
    ),
    Route(
        "GET",
        "/agents",
        "agents",
        "List the agents.",
        models.AgentPage,
        query=models.NamePage,
        rule="agents list",
    ),
    Route(
        "GET",
        "/approvals",
        "approvals",
        "List what waits for an approval.",
        models.OperationPage,
        query=models.NamePage,
        rule="approvals list",
    ),
    Route(
        "GET",
        "/audit",
        "audit",
        "Show rows of the audit log.",
        models.AuditPage,
        query=models.RowPage,
        rule="audit tail",
    ),
    Route(
        "GET",
        "/audit/export",
        "export",
        "Write the audit log as JSON lines, up to the row that is the newest now.",
        None,
        media=LINES,
        query=models.RowsAfter,
        rule="audit export",
    ),
)
