def test_it_says_whose_records_they_are(app):
    told = app.get("/v1/").json()
    assert told["project_name"] == f"Records of {app.domain}"


def test_a_stranger_cannot_write(app):
    answer = app.put("/v1/buckets/mine", "{}", **{"Content-Type": "application/json"})
    assert answer.status == 401


def test_database_and_app_are_well(app):
    assert app.get("/v1/__heartbeat__").json() == {
        "cache": True, "permission": True, "storage": True,
    }  # fmt: skip
