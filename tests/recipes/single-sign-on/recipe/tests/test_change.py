def test_the_page_is_removed(log_in):
    browser, _ = log_in()
    assert browser.ask("DELETE", "/wiki/minutes.html").status == 204
    assert browser.ask("GET", "/wiki/minutes.html").status == 404
