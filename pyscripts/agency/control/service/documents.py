"""Builders of the desk of agents' documents, and of what takes documents from rooms."""

from __future__ import annotations

from agency.control.conditions import Code
from agency.control.gosuto.desk import GosutoDesk
from agency.control.gosuto.documents import FileDocuments
from agency.control.gosuto.push import AcpPush, ConfigPush, SharedPush
from agency.control.rooms.files import RoomFiles
from agency.control.service.shared import Shared
from agency.gosuto import MAX_BYTES


def build_desk(plane: Shared) -> GosutoDesk:
    """Build the desk; an agent that lies about what it holds is a condition."""

    def lied(agent: str, number: int) -> None:
        plane.conditions.note(
            Code.AGENT_LIES,
            f"{agent} was given version {number} of its Gosuto, and then said that it holds "
            "something else: its program is not what it should be",
            subject=agent,
            hint=f"stop it, and see its log: !agency agents stop {agent}",
        )

    push: ConfigPush = AcpPush(plane.runtime, plane.acp)
    models = plane.config.models
    if models is not None and models.policies is not None:
        push = SharedPush(push, models.policies)
    return GosutoDesk(plane.database, plane.inventory, push, lied)


def build_file_documents(plane: Shared) -> FileDocuments:
    """Build what takes documents that people send as files."""
    config = plane.config
    files = RoomFiles(plane.api, config.bot_id, config.domain, MAX_BYTES)
    return FileDocuments(plane.database, plane.clock, files.read, plane.taker.take_away)
