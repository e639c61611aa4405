"""Moment before Docker begins an update: the old task runs, and nothing says so."""

from types import SimpleNamespace

import pytest

from agency.clock import Clock
from agency.coopcloud import Stack, StackError

NEW, OLD = {"Image": "wiki:2"}, {"Image": "wiki:1"}


class Listed:
    def __init__(self, *rows):
        self.rows = rows

    async def list(self, **_):
        return self.rows


def stack(*tasks):
    spec = {
        "Name": "w_app",
        "Mode": {"Replicated": {"Replicas": 1}},
        "TaskTemplate": {"ContainerSpec": NEW},
    }
    running = [{"Status": {"State": "running"}, "Spec": {"ContainerSpec": one}} for one in tasks]
    client = SimpleNamespace(services=Listed({"ID": "1", "Spec": spec}), tasks=Listed(*running))
    return Stack(client, "unix:///x", "w", Clock())


async def test_a_task_of_an_earlier_definition_does_not_count():
    assert [one.running for one in await stack(OLD).services()] == [0]
    with pytest.raises(StackError, match="0/1 running"):
        await stack(OLD).wait_settled(0.0)


async def test_one_of_the_newest_definition_counts():
    assert [one.running for one in await stack(NEW).wait_settled(0.0)] == [1]
