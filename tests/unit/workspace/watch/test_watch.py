"""The watch over the agents' logs: what is counted, and what of a log a person must hear of."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from agency.errors import BadInputError
from agency.workspace.audit.bounds import Bounds
from agency.workspace.audit.commands import audit
from agency.workspace.audit.record import Sender
from agency.workspace.audit.storage.logs import Logs
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.watch.following import WHOLE_S
from agency.workspace.audit.watch.programs import Programs, Running, is_usual, running, unusual
from agency.workspace.audit.watch.watching import Watch

AGENT = Sender(4321, 1)
DENIED = {"decision": "deny", "tool": "web/erase"}


class Scene:
    """Logs with their one writer, and a watch over them."""

    def __init__(self, place: Place, state: Path, moment) -> None:
        self.place, self.moment = place, moment
        self.bounds = Bounds(free_bytes=0, file_bytes=2000)
        self.logs = Logs(place, moment.clock(), self.bounds, retention_days=90)
        self.watch = Watch(
            logs=place.path,
            state=state,
            metrics=state / "audit.prom",
            agents=("dev", "pm"),
            agent_of={4321: "pm"}.get,
        )

    def put(self, event: str, times: int = 1, agent: str = "pm", **detail: object) -> None:
        for _ in range(times):
            self.logs.append(agent, AGENT, event, detail)

    def look(self, **changes: object):
        return replace(self.watch, **changes).look(self.moment.clock()).agents

    def numbers(self) -> dict[str, float]:
        text = self.watch.metrics.read_text()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def number(self, name: str, agent: str = "pm") -> float:
        return self.numbers()[f'agency_audit_{name}{{agent="{agent}"}}']

    def free(self) -> list[Path]:
        """All files of the agent, oldest first, and changeable."""
        self.logs.close()
        self.freed(self.place.path)
        path = self.place.path
        return [*sorted(path.glob("pm.*-*.jsonl")), *path.glob("pm.jsonl")]


@pytest.fixture
def scene(place: Place, tmp_path: Path, moment, free: Callable[[Path], None]) -> Iterator[Scene]:
    state = tmp_path / "state"
    state.mkdir()
    scene = Scene(place, state, moment)
    scene.freed = free
    yield scene
    scene.logs.close()


def test_what_is_new_is_counted_once(scene) -> None:
    scene.put("task.done", 3)
    scene.put("tool.decided", 2, **DENIED)
    scene.put("tool.decided", decision="allow")
    scene.put("approval.decided", decision="deny")
    scene.put("audit.lost", events=7)
    for _ in range(3):
        scene.look()
    assert scene.number("denials_total") == 3
    assert scene.number("lost_total") == 7
    written = sum(len(file.read_bytes().splitlines()) for file in scene.place.path.glob("pm*"))
    assert scene.number("records_total") == written > 8, "with those of the service itself"
    scene.moment.now += 60
    scene.put("tool.decided", **DENIED)
    scene.look()
    assert scene.number("denials_total") == 4
    assert scene.number("last_record_timestamp_seconds") == scene.moment.now
    assert scene.numbers()["agency_audit_watched_timestamp_seconds"] == scene.moment.now


def test_an_agent_that_never_spoke_has_zeros_and_no_time(scene) -> None:
    """A counter that begins with its first denials would hide them from every rate."""
    scene.look()
    assert scene.number("denials_total", "dev") == 0
    assert not any("last_record" in name for name in scene.numbers())


def test_it_goes_on_across_files_and_removals(scene) -> None:
    scene.put("tool.decided", 30, **DENIED)
    scene.look()
    scene.put("tool.decided", 30, **DENIED)
    assert len(scene.place.names()) > 3, "several files were closed meanwhile"
    assert scene.look()["pm"].broken is None
    assert scene.number("denials_total") == 60
    scene.moment.now += 91 * 86_400
    scene.put("task.done")
    scene.logs.housekeep()
    scene.put("task.done")
    found = scene.look()["pm"]
    assert (found.broken, found.tally.denials) == (None, 60)


def test_a_log_whose_beginning_was_removed_before_is_taken_as_it_is(scene) -> None:
    scene.put("task.done", 30)
    scene.moment.now += 91 * 86_400
    scene.put("task.done")
    scene.logs.housekeep()
    scene.put("tool.decided", **DENIED)
    found = scene.look()["pm"]
    assert (found.broken, found.tally.denials) == (None, 1)
    scene.put("tool.decided", **DENIED)
    assert scene.look()["pm"].tally.denials == 2


@pytest.mark.parametrize("said", [-5, 10**30, True, "many", None, [1]])
def test_an_agent_cannot_make_a_number_of_anything(scene, said) -> None:
    scene.put("audit.lost", events=said)
    assert 1 <= scene.look()["pm"].tally.lost <= 1_000_000


def test_what_is_new_and_false_is_found_at_once_and_stays(scene) -> None:
    scene.put("task.done", 2)
    scene.look()
    assert scene.number("chain_broken") == 0
    *_, current = scene.free()
    with current.open("ab") as log:
        log.write(current.read_bytes().splitlines(keepends=True)[-1])
    for why in ("comes twice", "is record 3, not 4"):
        assert why in scene.look()["pm"].broken
        assert scene.number("chain_broken") == 1
    current.write_bytes(b"".join(current.read_bytes().splitlines(keepends=True)[:-1]))
    assert scene.look()["pm"].broken is None, "mended, it is good again"
    assert scene.number("chain_broken") == 0


def test_what_was_read_before_and_changed_is_found_within_a_day(scene) -> None:
    scene.put("task.done", 5, n=1)
    scene.look()
    *_, current = scene.free()
    current.write_bytes(current.read_bytes().replace(b'"n":1', b'"n":2', 1))
    assert scene.look()["pm"].broken is None, "only what is new is read"
    scene.moment.now += WHOLE_S
    assert "was edited" in scene.look()["pm"].broken


def test_an_end_that_was_cut_off_is_found_by_the_kept_head(scene) -> None:
    """The chain that is left verifies: nothing in the log itself says that more was there."""
    scene.put("task.done", 5)
    scene.look()
    *_, current = scene.free()
    whole = current.read_bytes()
    current.write_bytes(b"".join(whole.splitlines(keepends=True)[:-2]))
    assert "cut" in scene.look()["pm"].broken
    assert "which the given head names" in scene.look()["pm"].broken
    current.write_bytes(whole)
    assert scene.look()["pm"].broken is None


def test_a_whole_new_log_in_its_place_is_found(scene, tmp_path: Path, moment) -> None:
    """Root can write another chain that verifies by itself."""
    scene.put("tool.decided", 3, **DENIED)
    scene.look()
    files = scene.free()
    other = tmp_path / "other"
    other.mkdir()
    with Place(other) as forged:
        logs = Logs(forged, moment.clock(), scene.bounds, retention_days=90)
        for _ in range(5):
            logs.append("pm", AGENT, "task.done", {})
        logs.close()
        scene.freed(other)
    for file in files:
        file.unlink()
    for file in other.iterdir():
        file.rename(scene.place.path / file.name)
    assert scene.look()["pm"].broken is not None
    assert scene.number("denials_total") == 3, "its numbers do not go back"


def test_a_log_that_is_gone_is_told(scene) -> None:
    scene.put("task.done")
    scene.look()
    for file in scene.free():
        file.unlink()
    assert scene.look()["pm"].broken == "the log is gone"
    assert scene.number("chain_broken") == 1


def test_half_a_line_is_waited_for(scene) -> None:
    scene.put("task.done")
    *_, current = scene.free()
    whole = current.read_bytes()
    current.write_bytes(whole[:-5])
    found = scene.look()["pm"]
    assert (found.broken, found.tally.records) == (None, 1)
    current.write_bytes(whole)
    assert scene.look()["pm"].tally.records == 2


def test_a_state_that_cannot_be_read_is_no_new_beginning(scene) -> None:
    """Whoever spoils it would else have the heads forgotten."""
    scene.put("task.done")
    scene.look()
    (scene.watch.state / "watched.json").write_text("{}}")
    with pytest.raises(BadInputError) as refused:
        scene.look()
    assert "move it away" in str(refused.value.hint)


def test_a_broken_log_is_named_in_the_journal_and_others_go_on(scene, caplog) -> None:
    scene.put("task.done")
    scene.put("task.done", agent="dev")
    *_, current = scene.free()
    current.write_bytes(current.read_bytes()[:-30] + b"x" * 29 + b"\n")
    found = scene.look()
    assert (found["pm"].broken is None, found["dev"].broken is None) == (False, True)
    told = [record.fields for record in caplog.records]
    assert [one["agent"] for one in told] == ["pm"]
    assert scene.number("chain_broken", "dev") == 0


# Programs.


def test_names_that_are_usual() -> None:
    usual = ("agency", "python3*", "chromium", "a-very-long-program-name")
    for name in ("agency", "python3.11", ".agency-wrapped", "a-very-long-pro", ".chromium-wrapp"):
        assert is_usual(name, usual), name
    for name in ("agencyx", "python2", "nc", "", "Agency", "chromium-helper"):
        assert not is_usual(name, usual), name


def test_programs_are_those_of_the_kernel() -> None:
    found = {one.pid: one for one in running()}
    me = found[os.getpid()]
    assert (me.uid, me.name) == (os.getuid(), Path("/proc/self/comm").read_text().strip())


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_an_agents_unusual_program_is_seen_and_others_programs_are_not(scene, caplog) -> None:
    with (
        subprocess.Popen(["sleep", "60"], user=4321, group=4321) as theirs,
        subprocess.Popen(["sleep", "60"]) as ours,
    ):
        try:
            scene.look(programs=Programs(usual=("agency",)))
            assert scene.number("unusual_programs") == 1
            assert scene.number("unusual_programs", "dev") == 0
            (told,) = [record.fields for record in caplog.records]
            assert told == {"agent": "pm", "programs": ["sleep"]}
            scene.look(programs=Programs(usual=("agency", "sleep")))
            assert scene.number("unusual_programs") == 0
            scene.look(programs=Programs(usual=("agency",), free=("pm",)))
            assert scene.number("unusual_programs") == 0
            scene.look()
            assert not any("programs" in name for name in scene.numbers()), "nobody looked"
        finally:
            theirs.kill()
            ours.kill()


def test_a_name_cannot_act_on_who_reads_it() -> None:
    (shown,) = unusual([Running(1, 4321, "a\x1b[2J\u202eb")], {4321: "pm"}.get, ("x",))["pm"]
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_the_command(scene) -> None:
    scene.put("tool.decided", 2, **DENIED)
    config = scene.watch.state / "config.json"
    config.write_text(json.dumps({"usual": ["agency", "python3*"], "free": ["dev"]}))
    argv = ["watch", "--directory", str(scene.place.path), "--state", str(scene.watch.state)]
    argv += ["--metrics", str(scene.watch.metrics), "--config", str(config)]
    done = CliRunner().invoke(audit, [*argv, "--json"])
    assert done.exit_code == 0, done.output
    (said,) = json.loads(done.stdout)["agents"]
    assert (said["agent"], said["denials"], said["broken"]) == ("pm", 2, None)
    assert scene.number("denials_total") == 2
    assert scene.watch.metrics.stat().st_mode & 0o777 == 0o644
    assert scene.number("unusual_programs") == 0
    human = CliRunner().invoke(audit, argv)
    assert re.match(r"pm: record 3, 2 denials, 0 lost, good", human.stdout)
