"""`agency recipes try` with real programs on a real Docker Swarm, and a stand-in for abra.

The app is asked by its name over HTTPS: at Traefik, which serves the wildcard certificate of an
authority that nothing else of this machine trusts.
"""

import json
import struct

from recipe_images import NGINX

ONE_MIB = 1024**2


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
    place = bench.artifacts / report["run"]
    assert json.loads((place / "result.json").read_text()) == report
    what_was_used(bench, report)
    pictures(place, report)


def what_was_used(bench, report):
    image = bench.engine.inspect("image", NGINX)["Id"]
    ran = [{"service": "app", "image": NGINX, "id": image, "digest": ""}]
    assert report["images"] == [
        {"version": "head", "label": "1.1.0+1.22.1", "services": ran},
        {"version": "1.0.0+1.22.1", "label": "1.0.0+1.22.1", "services": ran},
    ]
    usage = report["usage"]
    assert usage["samples"] > 2
    assert ONE_MIB < usage["memory_peak_bytes"] < 500 * ONE_MIB
    assert 0 < usage["processor_s"] < report["seconds"] * 2
    assert [one["service"] for one in usage["services"]] == ["app"]
    assert (report["overlay"], report["deadline"]) == (None, {"seconds": 3600, "reached": False})


def pictures(place, report):
    shots = report["screenshots"]
    assert {one["stage"] for one in shots} == {"install", "upgrade", "backup"}
    assert {one["file"] for one in shots} == {
        f"screenshots/{path.name}" for path in (place / "screenshots").iterdir()
    }
    for one in shots:
        data = (place / one["file"]).read_bytes()
        assert (data[:4], struct.unpack(">II", data[16:24])) == (b"\x89PNG", (1280, 720))
        assert (place / one["file"]).stat().st_mode & 0o777 == 0o600
