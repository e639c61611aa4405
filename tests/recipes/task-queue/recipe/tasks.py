"""Tasks of the worker: documents that it keeps, and what it says about them."""

from pathlib import Path

from celery import Celery

PASSWORD = Path("/run/secrets/queue_password").read_text().strip()
QUEUE = f"redis://:{PASSWORD}@queue:6379/0"
DOCUMENTS = Path("/documents")

app = Celery("tasks", broker=QUEUE, backend=QUEUE)
app.conf.update(result_expires=None, broker_connection_retry_on_startup=True)


def _file(name):
    if not name.isalnum():
        raise ValueError("a document is named by letters and digits")
    return DOCUMENTS / name


@app.task
def keep(name, text):
    _file(name).write_text(text)
    return len(text)


@app.task
def read(name):
    return _file(name).read_text()


@app.task
def remove(name):
    _file(name).unlink()
    for key in app.backend.client.scan_iter("celery-task-meta-*"):
        app.backend.client.delete(key)
    return name


@app.task
def count_words(name):
    return len(_file(name).read_text().split())
