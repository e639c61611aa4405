def test_the_page_is_there(app, run_marker):
    assert app.get("/news/today.html").text == run_marker
