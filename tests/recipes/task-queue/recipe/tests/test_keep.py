from conftest import TASK


def test_the_queue_still_has_the_result(result, run_marker):
    assert result(TASK, within_s=5) == ("SUCCESS", len(run_marker))


def test_the_worker_still_has_the_document(do, run_marker):
    assert do("read", "minutes") == ("SUCCESS", run_marker)
