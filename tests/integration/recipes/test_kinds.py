"""Recipes of further kinds with their real programs: all stages, on a real Docker Swarm.

Each is a directory below tests/recipes with its images; product and harness know none of them.
"""

import pytest
from recipe_bench import Bench
from recipe_kinds import KINDS, make_image


@pytest.fixture
def bench_of(swarm, tmp_path):
    def bench_of(name):
        for image in KINDS[name]:
            make_image(swarm, image)
        bench = Bench(swarm, tmp_path, name)
        bench.set_up()
        return bench

    return bench_of


@pytest.mark.thorough
@pytest.mark.timeout(420)
@pytest.mark.parametrize("name", KINDS)
def test_all_stages_of_a_recipe_pass_and_nothing_is_left(bench_of, name):
    bench = bench_of(name)
    ended = bench.try_("--json", within_s=400)
    assert ended.status == 0, ended.stderr + bench.logs()
    report = ended.report
    assert {one["name"]: one["outcome"] for one in report["stages"]} == {
        "install": "pass", "upgrade": "pass", "backup": "pass", "custom": "pass",
    }  # fmt: skip
    assert f"from {bench.published}" in ended.stage("upgrade")["notes"]
    assert report["teardown"] == {"clean": True, "kept": False, "swept": [], "left": []}
    assert (bench.on_swarm(), bench.private()) == ([], [])


_NO_DOCUMENTS = '        - "backupbot.backup.volumes.documents=false"'
# A change that a maintainer could propose, the stage that must be red, and why it is.
BROKEN = {
    "the dump is not loaded": (
        ("records", "compose.postgres.yml"),
        ('        backupbot.restore.post-hook: "/pg_backup.sh restore"\n', ""),
        ("backup", "test_the_record_is_there"),
    ),
    "a volume is left out of the backup": (
        ("task-queue", "compose.yml"),
        ("=true\"\n  worker:", "=true\"\n" + _NO_DOCUMENTS + "\n  worker:"),
        ("backup", "test_the_worker_still_has_the_document"),
    ),
    "an upgrade has another volume": (
        ("object-store", "compose.yml"),
        ("objects:", "things:"),
        ("upgrade", "test_every_byte_of_the_large_object_is_there"),
    ),
    "the client lets everybody in": (
        ("single-sign-on", "proxy.sh"),
        ("'^/(login|", "'^/(wiki|login|"),
        ("install", "test_a_stranger_is_sent_to_the_provider"),
    ),
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", BROKEN)
def test_a_change_that_breaks_a_recipe_is_red_and_says_why(bench_of, kind):
    (name, file), (old, new), (stage, reason) = BROKEN[kind]
    bench = bench_of(name)
    bench.edit(file, old, new)
    ended = bench.try_("--json", f"--stage={stage}", within_s=280)
    assert (ended.status, ended.stage(stage)["outcome"]) == (1, "fail"), bench.logs()
    assert reason in ended.stage(stage)["reason"]
    assert (bench.on_swarm(), bench.private()) == ([], [])
