"""`compose.ccci.yml` of the tests, over the published version and over the one under test."""

import json

import pytest

WHY = "# The recipe takes no variable for what the page says, and the tests look for it.\n"
OVERLAY = """\
version: "3.8"
services:
  app:
    environment: {TITLE: of the overlay}
"""
SEES = """

def test_the_overlay_is_over_it(app):
    page = app.get("/")
    assert page.headers["X-Recipe"] == "VERSION"
    assert "<h1>of the overlay</h1>" in page.text
"""


def overlay(bench, text):
    tests = bench.place / "tests"
    (bench.recipe / "tests").rename(tests)
    (tests / "compose.ccci.yml").write_text(text)
    return f"--tests={tests}"


@pytest.mark.thorough
def test_an_overlay_is_deployed_with_both_versions_and_told(bench):
    option = overlay(bench, WHY + OVERLAY)
    (bench.place / "tests" / "test_install.py").write_text(SEES.replace("VERSION", "1.1.0"))
    with (bench.place / "tests" / "test_write.py").open("a") as file:
        file.write(SEES.replace("VERSION", "1.0.0"))
    ended = bench.try_("--stage=upgrade", option)
    assert ended.status == 0, ended.stderr
    assert "overlay compose.ccci.yml: The recipe takes no variable" in " ".join(
        ended.stdout.split()
    )
    (result,) = bench.artifacts.glob("*/result.json")
    told = json.loads(result.read_text())["overlay"]
    assert (told["file"], told["why"]) == ("compose.ccci.yml", WHY.strip("# \n"))
    assert (bench.on_swarm(), bench.private()) == ([], [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (OVERLAY, "must say in its first comment why"),
        (WHY + OVERLAY + "    privileged: true\n", "compose.ccci.yml:6"),
        (WHY + OVERLAY + "    image: another\n", "overlay-hides"),
    ],
    ids=["no reason", "privileged", "another image"],
)
def test_an_overlay_without_a_reason_or_against_the_policy_is_never_deployed(bench, text, reason):
    ended = bench.try_("--json", overlay(bench, text))
    assert ended.status == 1
    assert reason in ended.stderr
    assert (bench.on_swarm(), bench.private()) == ([], [])
