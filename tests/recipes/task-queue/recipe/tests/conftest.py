import base64
import json
import time

import pytest

TASK = "11111111-2222-4333-8444-555555555555"  # the one whose result is looked for later


@pytest.fixture
def web(app_secrets):
    """Headers of the person who may give tasks."""
    word = base64.b64encode(f"web:{app_secrets['web_password']}".encode()).decode()
    return {"Authorization": f"Basic {word}"}


@pytest.fixture
def result(app, web):
    """Wait for the result of a task."""

    def result(task, within_s=30):
        deadline = time.monotonic() + within_s
        while True:
            told = app.get(f"/api/task/result/{task}", **web).json()
            if told["state"] in ("SUCCESS", "FAILURE"):
                return told["state"], told["result"]
            assert time.monotonic() < deadline, told
            time.sleep(0.2)

    return result


@pytest.fixture
def do(app, web, result):
    """Give the worker a task; return its state and result."""

    def do(name, *args, **options):
        body = json.dumps({"args": list(args), **options})
        answer = app.post(f"/api/task/async-apply/tasks.{name}", body, **web)
        assert answer.status == 200, answer.text
        return result(answer.json()["task-id"])

    return do
