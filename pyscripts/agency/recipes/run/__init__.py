"""One run of recipe CI: its directories, record, secrets, app, teardown; and the janitor."""
