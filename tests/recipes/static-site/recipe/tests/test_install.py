def test_the_front_page_has_the_title(app):
    page = app.get("/")
    assert page.status == 200
    assert f"A site at {app.domain}" in page.text


def test_a_stranger_cannot_publish(app):
    assert app.put("/page.html", "mine").status == 401


def test_the_front_page_in_a_browser(app, page):
    assert page.goto("/").ok
    assert page.inner_text("h1") == f"A site at {app.domain}"
