import pytest

from agency.coopcloud import Remain
from agency.errors import PrerequisiteError
from agency.recipes.run import janitor, places

URL = "unix:///docker.sock"


class FakeSwarm:
    """A swarm that remembers whose stacks it was told to remove."""

    def __init__(self, left=()):
        self.removed = []
        self.left = left

    def remove(self, stack, seconds):
        self.removed.append(stack)
        return self.left


def record(run="r0000000a", **more):
    stack = f"wiki-try-{run}_ci_test"
    values = {"run": run, "recipe": "wiki", "commit": "a" * 40, "domain": f"wiki-try-{run}.ci.test"}
    return places.Record(**{**values, "stack": stack, "docker_url": URL, **more})


def dead(base, **more):
    """Leave what a killed run leaves: its directory with a record and a secret, and a free lock."""
    kept = record(**more)
    private = places.create(base, kept.domain)
    private.write_record(kept)
    private.secrets_file.write_text("{}")
    private.release()
    return private


def reap(base, swarm):
    said = []
    return janitor.reap(base, swarm, URL, said.append), said


def test_a_dead_run_is_removed_and_a_living_one_is_not(tmp_path):
    gone = dead(tmp_path)
    living = places.create(tmp_path, record("r0000000b").domain)
    living.write_record(record("r0000000b"))
    swarm = FakeSwarm()
    found, said = reap(tmp_path, swarm)
    assert [one.run for one in found] == ["r0000000a"]
    assert swarm.removed == ["wiki-try-r0000000a_ci_test"]
    assert (gone.path.exists(), living.path.exists()) == (False, True)
    assert "r0000000a" in said[0]
    living.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_said_and_tried_again_the_next_time(tmp_path):
    gone = dead(tmp_path)
    found, said = reap(tmp_path, FakeSwarm((Remain("volume", "v", "v"),)))
    assert found[0].left == ("volume v",)
    assert "volume v" in said[0]
    assert not gone.secrets_file.exists()
    swarm = FakeSwarm()
    reap(tmp_path, swarm)
    assert len(swarm.removed) == 1
    assert not gone.path.exists()


@pytest.mark.parametrize("more", [{"kept": True}, {"docker_url": "unix:///other.sock"}])
def test_a_kept_app_and_one_of_another_engine_stay(tmp_path, more):
    private = dead(tmp_path, **more)
    swarm = FakeSwarm()
    assert reap(tmp_path, swarm)[0] == ()
    assert (swarm.removed, private.secrets_file.exists()) == ([], True)


@pytest.mark.parametrize(
    "text",
    ["", "{}", record().model_dump_json().replace("wiki-try-r0000000a_ci", "witness_things")],
)
def test_a_record_that_names_no_runs_stack_removes_nothing(tmp_path, text):
    private = dead(tmp_path)
    (private.path / "record.json").write_text(text)
    swarm = FakeSwarm()
    found, said = reap(tmp_path, swarm)
    assert (found, swarm.removed) == ((), [])
    assert "record" in said[0]


def test_a_run_that_was_killed_before_its_record_leaves_nothing(tmp_path):
    private = places.create(tmp_path, record().domain)
    private.release()
    swarm = FakeSwarm()
    assert reap(tmp_path, swarm) == ((), [])
    assert (swarm.removed, list(tmp_path.iterdir())) == ([], [])


def test_a_domain_has_one_run_at_a_time(tmp_path):
    first = places.create(tmp_path, record().domain)
    with pytest.raises(places.RunBusyError):
        places.create(tmp_path, record().domain)
    first.remove()
    places.create(tmp_path, record().domain).remove()


def test_runs_cannot_be_kept_in_a_file(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(PrerequisiteError):
        places.create(tmp_path / "x", "a")
