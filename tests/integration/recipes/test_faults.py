"""What goes wrong in a run, each really made: the run is red, says why, and leaves nothing.

Those marked as thorough run in `make test-recipes`.
"""

import base64
import json
import os
import time
from types import SimpleNamespace

import pytest
from recipe_bench import Bench, wait_for


def stick(bench: Bench, within_s: int = 3) -> None:
    """Let the app run and never serve."""
    bench.edit("entrypoint.sh", "exec nginx -c /etc/nginx/nginx.conf", "exec sleep 1000")
    compose = bench.recipe / "compose.yml"
    text = compose.read_text()
    start, end = text.index("    healthcheck:"), text.index("    deploy:")
    compose.write_text(text[:start] + text[end:])
    bench.edit("tests/readiness.yaml", "within_s: 30", f"within_s: {within_s}")


def nothing_is_left(bench: Bench) -> bool:
    return (bench.on_swarm(), bench.private()) == ([], [])


def test_an_app_that_runs_and_never_serves_is_red(bench):
    stick(bench)
    ended = bench.try_()
    assert ended.status == 1, ended.stderr
    assert max(map(len, ended.stdout.splitlines())) <= 80
    table = " ".join(ended.stdout.split())
    assert "install fail" in table
    assert "not ready after 3 s" in table
    assert "upgrade skip 0.0 install failed" in table
    assert "teardown pass" in table
    assert nothing_is_left(bench)


def test_what_the_policy_refuses_is_never_deployed(bench):
    bench.edit("compose.yml", '["content:/srv/content"]', '["/run/docker.sock:/s", "content:/c"]')
    ended = bench.try_("--json")
    assert ended.status == 1
    assert "compose.yml:" in ended.stderr
    assert "docker-socket" in ended.stderr
    assert nothing_is_left(bench)


def test_without_abra_swarm_or_docker_it_ends_with_status_3(bench):
    kept = (bench.place / "bin" / "abra").rename(bench.place / "abra")
    missing = bench.try_()
    assert (missing.status, "abra" in missing.stderr) == (3, True)
    kept.rename(bench.place / "bin" / "abra")
    bench.engine = SimpleNamespace(
        url="unix:///nowhere.sock", pid=os.getpid(), place=bench.engine.place
    )
    nowhere = bench.try_()
    assert (nowhere.status, "nowhere.sock" in nowhere.stderr) == (3, True)


def test_a_living_run_is_left_alone_and_ends_clean_when_asked(bench):
    stick(bench, within_s=100)
    with bench.started("--stage=install") as living:
        while not any(one.startswith("service") for one in bench.on_swarm()):
            assert living.poll() is None
        other = Bench(bench.engine, bench.place)
        refused = other.try_(source=str(refused_recipe(bench)))
        assert refused.status == 1
        assert "janitor" not in refused.stderr
        assert any(one.startswith("service") for one in bench.on_swarm())
        living.terminate()
        assert living.wait(90) == 130
    assert nothing_is_left(bench)


def refused_recipe(bench: Bench):
    """A recipe that ends a run right after its janitor."""
    place = bench.place / "refused"
    place.mkdir(exist_ok=True)
    (place / ".env.sample").write_text("TYPE=refused\n")
    (place / "compose.yml").write_text("services: {app: {image: x, privileged: true}}\n")
    return place


# Where a run is killed, and the stages that it has: the last boundary comes after all of them.
BOUNDARIES = {
    "install: begins": ("install",),
    "install: pass": ("install",),
    "upgrade: begins": ("upgrade",),
    "upgrade: pass": ("upgrade",),
    "backup: pass": ("backup",),
    "custom: pass": ("custom",),
    "teardown: begins": (),
}


@pytest.mark.thorough
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_what_a_killed_run_leaves_is_removed_by_the_next(bench, boundary):
    with bench.started(*(f"--stage={stage}" for stage in BOUNDARIES[boundary])) as killed:
        wait_for(killed, boundary)
        killed.kill()
        killed.wait()
    assert bench.private() != []
    after = bench.try_(source=str(refused_recipe(bench)))
    assert "janitor: removed what the dead run" in after.stderr
    assert nothing_is_left(bench)


@pytest.mark.thorough
def test_a_killed_run_is_removed_although_abra_still_deploys(bench):
    bench.fault("hang")
    with bench.started() as killed:
        log = wait_for_log(bench, "app deploy")
        killed.kill()
        killed.wait()
    assert "app deploy" in log
    assert "janitor: removed" in bench.try_(source=str(refused_recipe(bench))).stderr
    assert nothing_is_left(bench)


def wait_for_log(bench: Bench, text: str) -> str:
    while True:
        told = "".join(p.read_text() for p in bench.artifacts.glob("*/logs/install.log"))
        if text in told:
            return told
        time.sleep(0.1)


ABRA = {
    "hangs": (("hang", "deploy"), ("--deploy-timeout=5",), "no end after 5 s"),
    "does nothing and says done": (("lie", "deploy"), (), "the stack has no service"),
    "fails on another stream": (("fail", "deploy"), (), "server on fire"),
    "gives no secrets": (("fail", "secret generate"), (), "exit status 1"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ABRA)
def test_abra_that_fails_makes_the_run_red(bench, kind):
    fault, words, reason = ABRA[kind]
    bench.fault(*fault)
    ended = bench.try_("--stage=install", "--json", *words)
    assert ended.status == 1
    assert reason in ended.stage("install")["reason"]
    assert nothing_is_left(bench)


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["undeploy", "volume remove", "secret remove"])
def test_what_abra_leaves_at_the_end_is_swept_and_said(bench, command):
    bench.fault("lie", command)
    ended = bench.try_("--stage=install", "--json")
    assert ended.stage("install")["outcome"] == "pass"
    teardown = ended.report["teardown"]
    assert teardown["clean"]
    assert any("left by abra" in one for one in teardown["swept"])
    assert nothing_is_left(bench)


@pytest.mark.thorough
def test_an_app_is_kept_past_other_runs_until_it_is_taken_down(bench):
    ended = bench.try_("--stage=install", "--keep", "--json")
    assert (ended.status, ended.report["teardown"]["kept"]) == (0, True)
    assert "janitor" not in bench.try_(source=str(refused_recipe(bench))).stderr
    assert any(one.startswith("service") for one in bench.on_swarm())
    (sidecar,) = bench.state.glob("*/secrets.json")
    assert sidecar.stat().st_mode & 0o777 == 0o600
    assert len(json.loads(sidecar.read_text())["publish_password"]) >= 32
    assert bench.teardown("r00000000").status == 1
    assert bench.teardown(ended.report["run"]).status == 0
    assert nothing_is_left(bench)


@pytest.mark.thorough
def test_an_image_that_is_not_there_is_named_in_the_services_log(bench):
    bench.edit("compose.yml", "agency-test/nginx:1.22", "agency-test/none:1")
    ended = bench.try_("--stage=install", "--json", "--deploy-timeout=10")
    assert ended.status == 1
    logs = bench.artifacts / ended.report["run"] / "logs"
    assert "No such image" in (logs / "install-services.log").read_text()
    assert nothing_is_left(bench)


@pytest.mark.thorough
def test_an_upgrade_that_loses_the_data_is_red(bench):
    bench.edit("compose.yml", '["content:/srv/content"]', '["pages:/srv/content"]')
    bench.edit("compose.yml", "  content: {}", "  pages: {}")
    ended = bench.try_("--json", "--stage=upgrade", "--stage=install")
    assert ended.status == 1
    assert ended.stage("install")["outcome"] == "pass"
    assert "test_the_page_is_there" in ended.stage("upgrade")["reason"]
    assert nothing_is_left(bench)


@pytest.mark.thorough
def test_a_config_that_changed_without_its_version_fails_the_upgrade(bench):
    bench.edit("abra.sh", "NGINX_CONF_VERSION=v2", "NGINX_CONF_VERSION=v1")
    ended = bench.try_("--json", "--stage=upgrade")
    assert ended.status == 1
    assert ended.stage("upgrade")["outcome"] == "fail"
    assert nothing_is_left(bench)


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["backup create", "restore"])
def test_a_backup_that_only_says_done_is_red(bench, command):
    bench.fault("lie", command)
    ended = bench.try_("--json", "--stage=backup")
    assert (ended.status, ended.stage("backup")["outcome"]) == (1, "fail")
    assert nothing_is_left(bench)


@pytest.mark.thorough
def test_a_change_that_nobody_sees_cannot_show_a_restore(bench):
    (bench.recipe / "tests" / "test_change.py").write_text("def test_nothing():\n    pass\n")
    ended = bench.try_("--json", "--stage=backup")
    assert ended.status == 1
    assert "cannot show a restore" in ended.stage("backup")["reason"]


LEAKS = """
p=$(cat /run/secrets/publish_password)
printf '%s\\n' "$p"
printf '%s' "$p" | base64
printf '{"password": "%s"}\\n' "$p"
printf 'https://x/?p=%s\\n' "$p"
printf '%s' "$(printf '%s' "$p" | cut -c1-9)"; sleep 1
printf '%s\\n' "$(printf '%s' "$p" | cut -c10-)"
"""
TELLS = """
import base64, sys, time, pathlib
def test_tell(app_secrets):
    secret = app_secrets["publish_password"]
    pathlib.Path({place!r}).write_text(secret)
    print(secret, base64.b64encode(b"x" + secret.encode()).decode())
    sys.stderr.write(secret[:7]); sys.stderr.flush(); time.sleep(0.5); sys.stderr.write(secret[7:])
    assert secret == "no"
"""


@pytest.mark.thorough
def test_a_secret_that_app_and_tests_print_is_nowhere(bench):
    bench.edit("entrypoint.sh", "set -e\n", "set -e\n" + LEAKS)
    canary = bench.place / "canary"
    (bench.recipe / "tests" / "test_install.py").write_text(TELLS.format(place=str(canary)))
    ended = bench.try_("--json", "--stage=install")
    assert ended.status == 1
    value = canary.read_text()
    logs = bench.artifacts / ended.report["run"]
    told = ended.stdout + ended.stderr + "".join(p.read_text() for p in logs.rglob("*.*"))
    services = (logs / "logs" / "install-services.log").read_text()
    assert services.count("[***]") >= 5, services  # they were there, and are not
    assert (logs / "logs" / "install.log").read_text().count("[***]") >= 3
    for form in (value, value[:9], value[10:], base64.b64encode(value.encode()).decode()[:30]):
        assert form not in told
    assert not any(
        value.encode() in p.read_bytes()
        for p in bench.place.rglob("*")
        if p.is_file() and p != canary
    )
