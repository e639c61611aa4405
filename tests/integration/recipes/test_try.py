"""`agency recipes try` with a real program on a real Docker Swarm, and a stand-in for abra."""

import json


def test_all_stages_pass_and_nothing_is_left(bench):
    ended = bench.try_("--json")
    assert ended.status == 0, ended.stderr
    report = ended.report
    assert {s["name"]: s["outcome"] for s in report["stages"]} == {
        "install": "pass", "upgrade": "pass", "backup": "pass", "custom": "pass",
    }  # fmt: skip
    assert report["teardown"] == {"clean": True, "kept": False, "swept": [], "left": []}
    assert "STAND-IN" in report["abra"]
    assert report["version"] == "1.1.0+1.22.1"
    assert bench.on_swarm() == []
    assert bench.private() == []
    assert json.loads((bench.artifacts / report["run"] / "result.json").read_text()) == report
