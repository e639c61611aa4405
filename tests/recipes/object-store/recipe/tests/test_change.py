from conftest import LARGE


def test_the_large_object_is_overwritten(s3):
    assert s3("PUT", LARGE, b"something else").status == 200
    assert s3("GET", LARGE).body == b"something else"
