def test_a_stranger_sees_nothing(app):
    assert app.get("/").status == 403


def test_a_small_object_is_kept_and_removed(s3):
    assert s3("PUT", "/small").status == 200
    assert s3("PUT", "/small/note.txt", b"a note").status == 200
    assert s3("GET", "/small/note.txt").body == b"a note"
    assert s3("DELETE", "/small/note.txt").status == 204
    assert s3("GET", "/small/note.txt").status == 404
    assert s3("DELETE", "/small").status == 204
