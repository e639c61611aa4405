"""An open issue with an agent's label becomes a task of that agent, once."""

import json
import stat

import pytest
from task_places import Counting, loop_in, place_in

from agency.forge import ForgeError
from agency.secrets import SecretValue
from agency.workspace.tasks.wishing import collect_to, take_wishes

PROJECT = "team/app"


async def collected(place, directory, who="bot"):
    config, output = directory / "collect.json", directory / "wishes.json"
    config.write_text(
        json.dumps({"kind": place.kind, "url": place.url, "projects": [PROJECT]}),
    )
    await collect_to("pm", config, output, SecretValue(place.tokens.get(who, "no-token")))
    return output


async def test_an_issue_with_the_label_becomes_a_task_once(bot, place, tmp_path):
    mine = await bot.open_issue(PROJECT, "Mend the login", "It is\x07 broken:\r\n\r\n- `yes`\n# no")
    other = await bot.open_issue(PROJECT, "Not for pm", "x")
    closed = await bot.open_issue(PROJECT, "Done already", "x")
    for issue in (mine, closed):
        place.label(issue.number, "agent:pm")
    place.label(mine.number, "priority:high")
    place.label(other.number, "agent:qa")
    await bot.close_issue(PROJECT, closed.number)

    space = place_in(tmp_path)
    file = await collected(place, tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    name = f"issue-team--app-{mine.number}"
    assert take_wishes(space, file).added == (name,)
    (task,) = space.read_tasks()
    assert task.description.startswith("Mend the login\n\nIt is")
    assert "\n- `yes`\n# no\n" in task.description
    assert "\r" not in task.description
    assert mine.web_url in task.description
    assert (task.priority, task.source_ref) == ("high", f"issue:team/app#{mine.number}")

    assert take_wishes(space, await collected(place, tmp_path)).added == ()
    await loop_in(space, Counting()).run()
    space.sheet_path.write_text("tasks: []\n")
    assert take_wishes(space, await collected(place, tmp_path)).added == ()


async def test_a_forge_that_refuses_leaves_what_was_collected(bot, place, tmp_path):
    file = await collected(place, tmp_path)
    before = file.read_bytes()
    with pytest.raises(ForgeError):
        await collected(place, tmp_path, who="nobody")
    assert file.read_bytes() == before
