"""First versions of made agents' documents, from the templates of Gosuto."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agency.control.execution.result import RefusalError, Stored
from agency.control.gosuto.desk import AddVersion
from agency.control.store import gosuto as store
from agency.control.store.gosuto import Version
from agency.errors import AgencyError
from agency.gosuto import GosutoError, canonical, load_template, sha256
from agency.store import Database


@dataclass(frozen=True, slots=True)
class Drafts:
    """Writer of first versions. `room_id` is the room of agents whose template asks for one."""

    database: Database
    room_id: Callable[[], str | None]

    async def __call__(
        self, template: str, agent: str, values: Mapping[str, str], by: str, trace: str
    ) -> Stored | None:
        """Fill a template for an agent; who asks and the control room are its usual values.

        The version follows those of an earlier agent of the name, which are kept.

        Raises:
            RefusalError: there is no such template, or a variable of it is wrong or missing.
        """
        usual = {"room": self.room_id() or "", "operator": by if by.startswith("@") else ""}
        try:
            form = load_template(template)
            given = {
                name: value for name, value in usual.items() if value and name in form.variables
            }
            document = form.fill(agent, {**given, **values})
        except GosutoError as error:
            problems = "\n".join(f"{each.field}: {each.message}" for each in error.problems[:10])
            raise RefusalError(f"this would be no valid Gosuto:\n{problems}") from None
        except AgencyError as error:
            raise RefusalError(error.message, hint=error.hint) from None
        newest = await self.database.read(lambda c: store.newest(c, agent))
        number = 1 if newest is None else newest.number + 1
        text, made_by = canonical(document).decode(), f"the template {template}"
        return AddVersion(
            Version(agent, number, sha256(document), by, 0, trace, made_by[:255], text)
        )
