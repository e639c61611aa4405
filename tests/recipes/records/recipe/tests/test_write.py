from conftest import RECORD


def test_a_record_is_written(put, run_marker):
    assert put("/v1/buckets/coop", {}) in (200, 201)
    assert put("/v1/buckets/coop/collections/minutes", {}) in (200, 201)
    assert put(RECORD, {"text": run_marker}) in (200, 201)
