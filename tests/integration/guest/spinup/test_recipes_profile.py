"""A spin-up with recipe CI: its exported units run under systemd, on a Docker in the guest.

What deploys Traefik is a stand-in for abra, so the transcript calls that simulated. An override
beside it is of a kernel without IPVS.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from driving import ROOT, SpinUp
from recipe_supplies import make_supplies

from agency.instance.load import load_instance
from agency.instance.render import write_rendered

# Each is a whole guest with a Docker in it.
pytestmark = pytest.mark.thorough

Make = Callable[..., SpinUp]
Change = Callable[[str, Callable[[str], str]], Path]
SERVICES = ("swarm", "traefik", "ci", "bridge", "dashboard")
NETWORK = "modules/portable/parts/recipes/instance/etc/agency/reconcile/proxy-network.json"
# Whoever has the port first: the unit cannot come back.
TAKE = """
systemctl stop agency-dashboard.service
systemd-run --quiet --unit=taker.service python3 -m http.server --bind 127.0.0.1 8017
until systemctl --quiet is-active taker.service; do sleep 0.1; done
systemctl start --no-block agency-dashboard.service
"""


@pytest.fixture
def shop(spinup: Make, tmp_path: Path) -> Make:
    """Make spin-ups of an instance that tests recipes, with all that a guest cannot fetch."""
    root = tmp_path / "shop"
    root.mkdir()
    document = yaml.safe_load((ROOT / "instance" / "instance.yaml").read_text())
    document["services"] |= {name: {"enable": True} for name in SERVICES}
    document["recipes"] = {"static-site": {"repository": "recipes/static-site"}}
    (root / "instance.yaml").write_text(yaml.safe_dump(document))
    write_rendered(load_instance(root))
    supplies = make_supplies(tmp_path / "supplies")
    given = ("--with", "recipes", "--supplies", str(supplies), "--instance", str(root))
    # Beside a Docker the suite takes its time on a busy machine.
    given += ("--suite-timeout", "900")

    def make(*more: str, checkout: Path = ROOT) -> SpinUp:
        return spinup(*given, *more, checkout=checkout)

    return make


def probe(predicate: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in predicate["probes"] if each["name"] == name]
    seen: dict[str, Any] = found
    return seen


def failed(run_up: SpinUp, ground: Any, run: str) -> dict[str, Any]:
    assert run_up.end() == 1, run_up.text
    predicate = run_up.predicate()
    assert predicate["result"] == "FAILED"
    checked = run_up.verify()
    assert checked.returncode == 1
    assert "authentic" in checked.stdout
    ground.assert_nothing_left(run)
    return predicate


def test_recipe_ci_converges_in_a_guest(shop: Make, ground: Any) -> None:
    run_up = shop().start()
    run = run_up.run
    assert run_up.end() == 0, run_up.text
    predicate = run_up.predicate()
    assert (predicate["result"], predicate["profile"]) == ("PASSED", ["recipes"])
    assert run_up.verify("--require", "recipes.converged").returncode == 0

    seen = probe(predicate, "recipes.converged")["evidence"]
    runs = {one["name"]: [run["said"] for run in one["runs"]] for one in seen["reconcilers"]}
    assert runs["swarm-init"][0] == "swarm-init: 1 changed, nothing differs any more"
    for name, said in runs.items():
        assert said[-1] == f"{name}: nothing differs", "a second run changes nothing"
    assert [one["image"] for one in seen["services"]] == ["traefik:v3.7.15"]
    assert seen["looks"]["done"] == 0, "there is no forge in a guest"
    assert seen["looks"]["failed"] > 0

    shown = {name: probe(predicate, f"shop.{name}") for name in SERVICES}
    assert {one["status"] for one in shown.values()} == {"passed"}
    assert {name: one["mode"] for name, one in shown.items()} == {
        name: "simulated" if name == "traefik" else "observed" for name in SERVICES
    }
    assert seen["abra"]["version"] == "abra STAND-IN of the tests, not abra"
    (gate,) = [each for each in predicate["gates"] if each["name"] == "shop"]
    assert (gate["met"], gate["reason"]) == (
        False,
        "traefik: the probe shop.traefik was simulated, not observed",
    )
    assert run_up.verify("--gate", "shop").returncode == 1
    ground.assert_nothing_left(run)


def test_without_the_proxy_s_network_it_fails(
    shop: Make, ground: Any, changed_checkout: Change
) -> None:
    checkout = changed_checkout(NETWORK, lambda text: text.replace('"proxy"', '"elsewhere"'))
    run_up = shop("--fail-fast", checkout=checkout).start()
    predicate = failed(run_up, ground, run_up.run)
    told = probe(predicate, "recipes.converged")
    assert told["status"] == "failed"
    assert [one["name"] for one in told["evidence"]["networks"]] == ["elsewhere", "ingress"]
    assert probe(predicate, "shop.traefik")["status"] == "failed"
    assert probe(predicate, "shop.dashboard")["status"] == "passed", "the others are well"


def test_a_dashboard_whose_port_is_taken_fails_it(shop: Make, ground: Any) -> None:
    run_up = shop("--fail-fast").start()
    name = f"agency-{run_up.run}"
    run_up.reach("accounts")
    ground.exec(name, "sh", "-c", TAKE)
    predicate = failed(run_up, ground, run_up.run)
    assert probe(predicate, "shop.dashboard")["status"] == "failed"
    told = probe(predicate, "recipes.converged")
    assert told["status"] == "failed"
    assert probe(predicate, "shop.bridge")["status"] == "passed", "the others are well"
