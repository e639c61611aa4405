def test_the_version_under_test_answers(app):
    assert app.get("/").headers["X-Recipe"] == "1.1.0"


def test_a_page_that_is_not_there(app):
    assert app.get("/none.html").status == 404
