"""Commands by HTTP, to a control plane that runs: the same operations as in the room."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from http_api import ALICE, BOB, CAROL, VERA, Client, client_for, url_of

from agency.control.kept.minting import new_token


@pytest.fixture(scope="module")
def alice(shared: Any) -> Client:
    return client_for(shared, ALICE)


def rows_of(control: Any, action: str) -> list[tuple[str, str]]:
    return [(row["actor"], row["outcome"]) for row in control.audit() if row["action"] == action]


def test_a_change_runs_and_its_events_end_with_the_answer(served: Any) -> None:
    alice = client_for(served, ALICE)
    made = alice.give(["agents", "start", "pm", "--project=new app"], "start-1")
    assert made.status_code in (200, 202), made.text
    told = made.json()
    assert made.headers["Location"] == f"/api/v1/operations/{told['id']}"
    events = list(alice.events(told["id"]))
    kind, last, end = events[-1]
    assert (kind, end["state"], end["final"], last) == ("end", "done", True, "3.done")
    assert end["reports"][0]["text"] == "starting its process", "its steps are reports"
    assert end["command"] == '!agency agents start pm --project="new app"'
    assert "pm runs, with the project new app" in end["reply"]["text"]
    assert alice.get(f"/operations/{told['id']}").json() == end
    again = alice.give("agents start pm --project='new app'", "start-1")
    assert (again.status_code, again.json()) == (200, end), "the same key is the same operation"
    assert rows_of(served, "agents start") == [(ALICE, "accepted"), (ALICE, "done")]
    agents = {each["name"]: each for each in alice.get("/agents").json()["items"]}
    assert (agents["pm"]["wanted"], agents["pm"]["project"]) == ("running", "new app")
    stopped = alice.give("agents stop pm", "stop-1", wait_s=20)
    assert (stopped.status_code, stopped.json()["state"]) == (200, "done")
    assert served.verify() == 0


def test_another_body_with_the_key_is_refused_and_anothers_key_is_another(
    shared: Any, alice: Client
) -> None:
    first = alice.give("ping", "same", wait_s=10)
    assert first.json()["state"] == "done"
    other = alice.give("status", "same")
    assert other.status_code == 409
    assert other.headers["Content-Type"].startswith("application/problem+json")
    assert other.json()["code"] == "id-used"
    bob = client_for(shared, BOB).give("version", "same", wait_s=10)
    assert bob.json()["state"] == "done", "no person can take another's keys"
    assert bob.json()["id"] != first.json()["id"]


def test_what_is_no_command_is_pointed_at(alice: Client) -> None:
    told = alice.give("agents halt pm", "wrong-1")
    assert told.status_code == 422
    assert 'Unknown command "halt"' in told.json()["detail"]
    assert "^^^^" in told.json()["where"]
    assert told.json()["trace"].startswith("t-")


@pytest.mark.parametrize(
    ("person", "role", "command", "status"),
    [
        (VERA, "viewer", "agents list", 200),
        (VERA, "viewer", "agents stop pm", 403),
        (ALICE, "viewer", "agents list", 200),
        (ALICE, "viewer", "agents stop pm", 403),  # the token narrows
        (ALICE, "viewer", f"tokens revoke {'0' * 12}", 403),
        (ALICE, "approver", "agents stop pm", 403),
        (ALICE, "operator", "config set api-rate 60000", 403),
        (ALICE, "admin", "config set api-rate 60000", 200),
        (CAROL, "approver", "agents list", 200),
    ],
)
def test_a_token_reaches_as_far_as_its_role(
    shared: Any, person: str, role: str, command: str, status: int
) -> None:
    client = client_for(shared, person, role)
    told = client.give(command, f"reach-{role}-{len(command)}", wait_s=10)
    if status == 403 and told.status_code != 403:  # refused by the policy, on its way
        assert told.json()["state"] == "refused", told.text
        assert "takes the role" in told.json()["reply"]["text"]
        return
    assert told.status_code == status, told.text


def test_an_operation_waits_and_another_person_approves_it_by_http(shared: Any) -> None:
    alice, carol = client_for(shared, ALICE), client_for(shared, CAROL, "approver")
    made = alice.give(["agents", "disable", "pm"], "hold", wait_s=2).json()
    assert made["state"] == "waiting"
    assert made["waits"] == {"rule": "holds", "quorum": 1, "approved_by": []}
    assert [each["id"] for each in carol.get("/approvals").json()["items"]] == [made["id"]]
    herself = client_for(shared, ALICE, "approver")
    own = herself.give(["approve", made["id"]], "own", wait_s=10).json()
    assert own["state"] == "refused"
    assert "by the person who asked for it" in own["reply"]["text"]
    following = alice.events(made["id"])
    assert next(following)[0] == "report", "the prompt is told"
    assert next(following)[2]["state"] == "waiting"
    granted = carol.give(
        ["approvals", "approve", made["id"], "--", "it", "rests"], "yes", wait_s=10
    )
    assert granted.json()["state"] == "done", granted.text
    *_, (kind, _, end) = following
    assert (kind, end["state"]) == ("end", "done")
    enabled = alice.give("agents enable pm", "unhold", wait_s=10)
    assert enabled.json()["state"] == "done"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": f"Bearer {new_token()}"}, 401),
        ({"Authorization": f"Basic {new_token()}"}, 401),
        ({"Cookie": "token=x"}, 401),
    ],
)
def test_without_a_live_token_nothing_is_told(
    shared: Any, headers: dict[str, str], status: int
) -> None:
    for method, path in (("GET", "/agents"), ("POST", "/operations"), ("GET", "/audit/export")):
        told = requests.request(
            method, f"{url_of(shared)}/api/v1{path}", headers=headers, timeout=5
        )
        assert told.status_code == status
        assert told.headers["WWW-Authenticate"] == "Bearer"
        assert told.json()["code"] == "no-token"
    assert requests.get(f"{url_of(shared)}/api/v1/health", timeout=5).json()["status"] == "ok"


def test_a_token_that_is_taken_back_opens_nothing(shared: Any) -> None:
    client, admin = client_for(shared, BOB), client_for(shared, ALICE, "admin")
    who = client.get("/who").json()
    assert (who["person"], who["role"]) == (BOB, "operator")
    viewer, hers = client_for(shared, VERA, "viewer"), admin.get("/who").json()["token"]
    refused = viewer.give(["tokens", "revoke", who["token"]], "take", wait_s=10)
    assert (refused.status_code, refused.json()["code"]) == (403, "beyond-the-token")
    refused = client.give(["tokens", "revoke", hers], "take-hers", wait_s=10)
    assert refused.json()["state"] == "refused", "it is somebody else's"
    assert (client.get("/who").status_code, admin.get("/who").status_code) == (200, 200)
    done = admin.give(["tokens", "revoke", who["token"]], f"take-{who['token']}", wait_s=10)
    assert done.json()["state"] == "done", done.text
    assert client.get("/who").status_code == 401


def test_a_token_makes_no_token(alice: Client) -> None:
    made = alice.give(["tokens", "create", f"sha256:{'a' * 64}"], "breed", wait_s=10)
    assert made.json()["state"] == "refused"
    assert "a token makes no further tokens" in made.json()["reply"]["text"].lower()


def test_a_person_who_lost_the_role_lost_the_token_for_ever(served: Any) -> None:
    bob, vera = client_for(served, BOB), client_for(served, VERA, "viewer")
    assert bob.get("/agents").status_code == 200
    served.stop()
    served.config["operators"] = [ALICE]
    served.start()
    assert bob.get("/agents").status_code == 401
    assert vera.get("/agents").status_code == 200, "positive control"
    served.stop()
    served.config["operators"] = [ALICE, BOB]
    served.start()
    assert bob.get("/agents").status_code == 401, "it does not come back with the role"
    assert ("system", "done") in rows_of(served, "tokens revoke")


def test_the_store_holds_no_token(served: Any) -> None:
    client = client_for(served, ALICE)
    assert client.get("/who").status_code == 200
    secret = client.token.encode()
    for file in (*served.place.rglob("*.db*"), served.log):
        assert secret not in file.read_bytes(), file
    (kept,) = served.query("SELECT digest FROM tokens")[0]
    assert len(kept) == 64


def test_the_audit_log_is_paged_and_exported(shared: Any, alice: Client) -> None:
    alice.give("ping", "for-the-log", wait_s=10)
    exported = alice.get("/audit/export")
    assert exported.headers["Content-Type"] == "application/jsonl"
    lines = exported.text.splitlines()
    paged: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = alice.get(f"/audit?after={after}&limit=3").json()
        paged += page["items"]
        after = page["next"]
    assert [row["sequence"] for row in paged] == list(range(1, len(paged) + 1))
    assert len(lines) == len(paged)
    assert (ALICE, "done") in rows_of(shared, "audit export"), "an export is on record"
    asked = alice.give("audit export", "in-words", wait_s=10).json()
    assert asked["state"] == "refused"
    assert "GET /api/v1/audit/export" in asked["reply"]["text"]
    narrow = client_for(shared, VERA, "viewer")
    assert narrow.get("/audit?limit=1").status_code == 200


def test_settings_of_the_store_change_and_others_say_where_they_stand(shared: Any) -> None:
    admin = client_for(shared, ALICE, "admin")
    told = admin.give("config set log-level debug", "level", wait_s=10).json()
    assert told["reply"]["text"] == "log-level is debug, and was info."
    got = admin.give("config get log-level", "got", wait_s=10).json()
    assert "log-level is debug" in got["reply"]["text"]
    no = admin.give("config set operators @eve:x.org", "no", wait_s=10).json()
    assert no["state"] == "refused"
    assert "`operators` in instance.yaml" in no["reply"]["text"]
    assert admin.give("config set log-level info", "back", wait_s=10).json()["state"] == "done"


def test_what_is_too_large_of_another_kind_or_another_form_is_refused(
    shared: Any, alice: Client
) -> None:
    def post(data: bytes, kind: str = "application/json") -> tuple[int, str]:
        told = alice.ask("POST", "/operations", data=data, headers={"Content-Type": kind})
        assert told.headers["Content-Type"].startswith("application/problem+json")
        return told.status_code, told.json()["code"]

    body = b'{"command": "ping", "key": "sized-1"}'
    good = alice.ask("POST", "/operations", data=body, headers={"Content-Type": "application/json"})
    assert good.status_code in (200, 202), "positive control"
    assert post(body + b" " * 262_144) == (413, "too-large")
    assert post(body, "text/plain") == (415, "not-json")
    assert post(body[:-1]) == (400, "bad-request")
    assert post(b"[" * 60_000) == (400, "bad-request")
    assert post(b'{"command": "ping", "key": "sized-2", "as": "root"}') == (400, "bad-request")
    assert post(b'{"command": "ping", "key": "a/b"}') == (400, "bad-request")
    assert alice.get("/agents?limit=0").status_code == 400
    assert alice.get("/agents?limit=1&limit=2").status_code == 400
    assert alice.get("/nowhere").status_code == 404
    assert alice.ask("DELETE", "/agents").status_code == 405
    assert alice.ask("OPTIONS", "/agents", headers={"Origin": "https://x.org"}).status_code == 405
    assert "Access-Control-Allow-Origin" not in alice.get("/agents").headers


def test_commands_of_agents_and_strangers_have_no_way_in(shared: Any) -> None:
    for person in ("@agent-pm:agency.example", "@eve:agency.example", "@alice:elsewhere.example"):
        with pytest.raises(AssertionError, match="does not hold the role"):
            client_for(shared, person, "viewer")
    assert client_for(shared, VERA, "viewer").get("/who").status_code == 200


def test_an_open_stream_does_not_hold_up_the_end(served: Any) -> None:
    alice = client_for(served, ALICE)
    made = alice.give("agents disable pm", "hold", wait_s=1).json()
    following = alice.events(made["id"])
    assert next(following)[0] == "report"
    begun = time.monotonic()
    assert served.stop() == 0
    assert time.monotonic() - begun < 5


def test_the_status_tells_uptime_agents_and_recent_errors(shared: Any, alice: Client) -> None:
    assert requests.get(f"{url_of(shared)}/api/v1/status", timeout=5).status_code == 401
    vera = client_for(shared, VERA, "viewer")
    before = vera.get("/status")
    assert before.status_code == 200, before.text
    assert sum(before.json()["agents"].values()) == 2
    assert alice.give("agents start pm", "status-start", wait_s=20).json()["state"] == "done"
    failed = alice.give("secrets list", "status-fail", wait_s=20).json()
    assert failed["state"] == "failed", "it has no vault"
    told = vera.get("/status").json()
    assert told["agents"] == {"running": 1, "stopped": 1}
    assert told["uptime_s"] >= before.json()["uptime_s"] > 0
    assert (told["safe_mode"], told["waiting_for_approval"]) == (False, 0)
    assert before.json()["recent_errors"] == []
    (error,) = told["recent_errors"]
    assert (error["action"], error["trace"]) == ("secrets list", failed["trace"])
    assert alice.give("agents stop pm", "status-stop", wait_s=20).json()["state"] == "done"
    by_command = alice.give("status", "status-said", wait_s=10).json()["reply"]["block"]
    assert "2 stopped" in by_command
