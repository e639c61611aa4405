def test_a_member_writes_a_page(log_in, run_marker):
    browser, _ = log_in()
    assert browser.ask("PUT", "/wiki/minutes.html", run_marker).status in (201, 204)
