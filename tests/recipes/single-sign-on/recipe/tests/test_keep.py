def test_a_member_reads_the_page(log_in, run_marker):
    browser, _ = log_in()
    assert browser.ask("GET", "/wiki/minutes.html").text == run_marker
