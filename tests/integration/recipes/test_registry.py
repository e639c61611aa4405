"""Images behind a log-in: a real registry that demands one."""

import base64

import pytest
from recipe_images import NGINX
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


def said(bench, ended):
    place = bench.artifacts / ended.report["run"]
    return ended.stdout + ended.stderr + "".join(p.read_text() for p in place.rglob("*.log"))


def test_an_image_behind_a_log_in_is_pulled_with_it_and_on_record(bench, behind):
    ended = bench.try_("--json", "--stage=install", f"--registry-config={behind}")
    assert ended.status == 0, ended.stderr
    (deployed,) = ended.report["images"]
    assert deployed["services"][0]["digest"].startswith("sha256:")
    told = said(bench, ended)
    assert PASSWORD not in told
    assert base64.b64encode(f"puller:{PASSWORD}".encode()).decode() not in told


def test_without_the_log_in_it_is_red(bench, behind):
    ended = bench.try_("--json", "--stage=install", "--deploy-timeout=10")
    assert ended.status == 1


def test_a_wrong_log_in_is_no_fault_of_the_recipe(bench, behind):
    wrong = log_in(bench.place / "other", "not-the-password-991")
    ended = bench.try_("--json", "--stage=install", f"--registry-config={wrong}")
    assert ended.status == 3
    stage = ended.stage("install")
    assert stage["outcome"] == "error"
    assert "cannot be pulled" in stage["reason"]
    assert "not-the-password-991" not in said(bench, ended)
    assert (bench.on_swarm(), bench.private()) == ([], [])
