from conftest import TASK


def test_a_document_is_kept_by_the_worker(do, run_marker):
    assert do("keep", "minutes", run_marker, task_id=TASK) == ("SUCCESS", len(run_marker))
