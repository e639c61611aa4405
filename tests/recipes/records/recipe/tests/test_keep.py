from conftest import RECORD


def test_the_record_is_there(app, admin, run_marker):
    answer = app.get(RECORD, **admin)
    assert answer.status == 200
    assert answer.json()["data"]["text"] == run_marker
