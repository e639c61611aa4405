def test_the_page_is_removed(app, publisher):
    assert app.delete("/news/today.html", **publisher).status == 204
    assert app.get("/news/today.html").status == 404
