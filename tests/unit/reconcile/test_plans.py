"""Plans for worlds that are hard to make for real."""

import pytest

from agency.clock import Clock
from agency.reconcile.swarm.init import Step as SwarmStep
from agency.reconcile.swarm.init import Swarm, SwarmInit, SwarmInitSettings
from agency.reconcile.swarm.proxy_network import Network, ProxyNetwork, ProxyNetworkSettings, Step

NONE = None  # a plan calls nobody


def network_plan(*networks: Network):
    reconciler = ProxyNetwork(NONE, ProxyNetworkSettings(), Clock())
    return reconciler.plan(networks)


def right(identifier: str, *users: str) -> Network:
    facts = ProxyNetwork(NONE, ProxyNetworkSettings(), Clock()).wanted()
    return Network(identifier, facts, users)


def test_a_second_network_of_the_name_is_removed_and_the_right_one_kept():
    wrong = Network("b", {**right("b").facts, "driver": "bridge"}, ())
    changes = network_plan(wrong, right("a"))
    assert [(c.step, c.network_id) for c in changes] == [(Step.REMOVE, "b")]


def test_of_two_right_networks_the_one_in_use_is_kept():
    changes = network_plan(right("a"), right("b", "shop"))
    assert [(c.step, c.network_id) for c in changes] == [(Step.REMOVE, "a")]


def test_two_right_networks_in_use_are_left_to_a_person():
    (change,) = network_plan(right("a", "shop"), right("b", "shop", "wiki"))
    assert change.step is None
    assert "in use by shop" in change.blocked


def test_the_right_network_alone_needs_nothing():
    assert network_plan(right("a", "shop")) == ()


def swarm_plan(**facts):
    swarm = Swarm(
        **{
            "state": "active",
            "manager": True,
            "address": "10.0.0.1",
            "data_path_port": 4789,
            "nodes": 1,
            "availability": "active",
            "holds": (),
            **facts,
        }
    )
    settings = SwarmInitSettings(advertise_address="10.0.0.1")
    return SwarmInit(NONE, settings).plan(swarm)


def test_the_right_swarm_needs_nothing():
    assert swarm_plan() == ()


@pytest.mark.parametrize("state", ["locked", "error", "active", "pending"])
def test_a_swarm_that_this_machine_does_not_manage_is_left_to_a_person(state):
    (change,) = swarm_plan(state=state, manager=False)
    assert change.blocked
    assert change.step is None


def test_more_nodes_are_left_to_a_person():
    (change,) = swarm_plan(nodes=2)
    assert (change.before, change.after) == ("2", "1")
    assert change.blocked


@pytest.mark.parametrize(("nodes", "holds"), [(2, ()), (1, ("3 services",))])
def test_a_swarm_with_others_or_with_services_is_not_made_anew(nodes, holds):
    changes = swarm_plan(address="10.0.0.2", nodes=nodes, holds=holds)
    assert all(change.blocked for change in changes)
    assert SwarmStep.RECREATE not in {change.step for change in changes}
