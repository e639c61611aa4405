def test_changes_of_records_are_remembered(app, admin, put):
    assert "history" in app.get("/v1/").json()["capabilities"]
    assert put("/v1/buckets/other", {}) in (200, 201)
    listed = app.get("/v1/buckets/other/history", **admin).json()["data"]
    assert [one["uri"] for one in listed] == ["/buckets/other"]
