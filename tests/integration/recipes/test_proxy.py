"""The real Traefik before an app: certificates that are refused, and TLS that the app ends."""

import pytest
from recipe_bench import Bench
from recipe_proxy import ELSEWHERE, EXPIRED, STRANGER, app_authority, end_tls_in_app

FAULTS = {
    EXPIRED: "its certificate is refused: certificate has expired",
    STRANGER: "its certificate is refused: unable to get local issuer certificate",
    ELSEWHERE: "its certificate is refused: Hostname mismatch, certificate is not valid for",
}


@pytest.mark.parametrize(
    "zone", [EXPIRED, *(pytest.param(z, marks=pytest.mark.thorough) for z in (STRANGER, ELSEWHERE))]
)
def test_a_certificate_that_a_browser_would_refuse_is_red(bench, zone):
    """The control is every other run: the same app in the zone of the good certificate."""
    bench.edit("tests/readiness.yaml", "within_s: 30", "within_s: 2")
    ended = bench.try_("--json", "--stage=install", f"--zone={zone}")
    assert ended.status == 1
    assert FAULTS[zone] in ended.stage("install")["reason"]
    assert (bench.on_swarm(), bench.private()) == ([], [])


@pytest.fixture
def passthrough(swarm, tmp_path):
    bench = Bench(swarm, tmp_path, "tls-passthrough")
    bench.set_up()
    end_tls_in_app(swarm, bench.recipe)
    return bench


def test_tls_that_the_app_ends_itself_is_passed_through(passthrough):
    ended = passthrough.try_("--json", f"--ca={app_authority(passthrough.engine)}")
    assert ended.status == 0, ended.stderr
    assert [one["outcome"] for one in ended.stage("install")["tests"]] == ["pass"] * 3
    assert (passthrough.on_swarm(), passthrough.private()) == ([], [])


@pytest.mark.thorough
def test_without_the_label_the_proxy_answers_with_its_own_certificate(passthrough):
    """Positive control of the test above: it is the app that answered there."""
    passthrough.edit("compose.yml", "tls.passthrough=true", "tls.passthrough=false")
    passthrough.edit("tests/readiness.yaml", "within_s: 30", "within_s: 5")
    ended = passthrough.try_("--json", f"--ca={app_authority(passthrough.engine)}")
    assert ended.status == 1
    assert "status 400" in ended.stage("install")["reason"]  # plain HTTP came to nginx
