def test_a_page_is_published(app, publisher, run_marker):
    assert app.put("/news/today.html", run_marker, **publisher).status in (201, 204)
