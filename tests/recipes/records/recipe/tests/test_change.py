from conftest import RECORD


def test_everything_is_deleted(app, admin):
    assert app.delete("/v1/buckets/coop", **admin).status == 200
    assert app.get(RECORD, **admin).status in (403, 404)
