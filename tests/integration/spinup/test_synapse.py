"""The rendered configuration makes a Synapse that knows us and nobody else."""


def test_it_knows_our_appservice_and_refuses_strangers(homeserver):
    path = "/_matrix/client/v3/account/whoami"
    ours = homeserver.request("GET", path, homeserver.as_token)
    assert ours.json()["user_id"] == f"@agency:{homeserver.domain}"
    assert homeserver.request("GET", path, "not-a-token").status_code == 401


def test_nobody_can_register_in_the_open_or_in_our_namespace(homeserver):
    path = "/_matrix/client/v3/register"
    open_door = homeserver.request("POST", path, json={"username": "eve", "password": "x" * 12})
    assert open_door.status_code == 403
    body = {"type": "m.login.application_service", "username": "agent-pm"}
    stranger = homeserver.create_user("mallory")
    assert homeserver.request("POST", path, stranger, json=body).status_code in {401, 403}
    allowed = homeserver.request("POST", path, homeserver.as_token, json=body)
    assert allowed.json()["user_id"] == f"@agent-pm:{homeserver.domain}"


def test_people_can_be_registered_with_the_shared_secret(homeserver):
    token = homeserver.create_user("alice")
    who = homeserver.request("GET", "/_matrix/client/v3/account/whoami", token).json()
    assert who["user_id"] == f"@alice:{homeserver.domain}"
