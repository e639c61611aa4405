def test_a_stranger_gives_no_task(app):
    assert app.post("/api/task/async-apply/tasks.remove", '{"args": ["minutes"]}').status == 401


def test_the_worker_does_what_the_web_part_is_asked_for(do):
    assert do("keep", "hello", "hello world") == ("SUCCESS", 11)
    assert do("read", "hello") == ("SUCCESS", "hello world")


def test_a_task_that_fails_is_told(do):
    state, reason = do("read", "../etc/passwd")
    assert state == "FAILURE"
    assert "letters and digits" in reason
