"""Images behind a log-in: a real registry that demands one."""

import base64
import json

import pytest
from recipe_images import NGINX
from recipe_queue import config_of, ended, ordered, put, read, wait
from recipe_registry import log_in, publish, registry

pytestmark = pytest.mark.thorough
PASSWORD = "let-me-pull-2871"


@pytest.fixture
def behind(bench):
    with registry(bench.engine, bench.place / "registry", PASSWORD):
        config = log_in(bench.place / "login", PASSWORD)
        name = publish(bench.engine, NGINX, config)
        bench.edit("compose.yml", NGINX, name)
        yield config
        bench.engine.cli("image", "rm", "--force", name)


def said(bench, done):
    place = bench.artifacts / done.report["run"]
    return done.stdout + done.stderr + "".join(p.read_text() for p in place.rglob("*.log"))


def test_an_image_behind_a_log_in_is_pulled_with_it_and_on_record(bench, behind):
    done = bench.try_("--json", "--stage=install", f"--registry-config={behind}")
    assert done.status == 0, done.stderr
    (deployed,) = done.report["images"]
    assert deployed["services"][0]["digest"].startswith("sha256:")
    told = said(bench, done)
    assert PASSWORD not in told
    assert base64.b64encode(f"puller:{PASSWORD}".encode()).decode() not in told


def test_without_the_log_in_it_is_red(bench, behind):
    done = bench.try_("--json", "--stage=install", "--deploy-timeout=10")
    assert done.status == 1


def test_a_wrong_log_in_is_no_fault_of_the_recipe(bench, behind):
    wrong = log_in(bench.place / "other", "not-the-password-991")
    done = bench.try_("--json", "--stage=install", f"--registry-config={wrong}")
    assert done.status == 3
    stage = done.stage("install")
    assert stage["outcome"] == "error"
    assert "cannot be pulled" in stage["reason"]
    assert "not-the-password-991" not in said(bench, done)
    assert (bench.on_swarm(), bench.private()) == ([], [])


def test_the_server_pulls_with_the_log_in_of_its_credential(bench, behind):
    """Run a queued run as the runner's unit does: the log-in is a credential of the program."""
    bench.commit("behind a log-in")
    config = config_of(bench)
    state = bench.place / "server"
    put(state, ordered(bench, 9, stages=("install",)))
    credentials = bench.place / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "registry-credentials").write_bytes(behind.read_bytes())
    with bench.serving(config, credentials):
        wait(bench, lambda: ended(state, "r00000009"))
    run = read(state, "r00000009")
    assert run.state == "passed", run.reason
    (deployed,) = json.loads(str(run.result))["images"]
    assert deployed["services"][0]["digest"].startswith("sha256:")
    logs = [one.read_text() for one in (state / "artifacts").rglob("*.log")]
    assert logs
    assert PASSWORD not in "".join(logs) + str(run.result)
