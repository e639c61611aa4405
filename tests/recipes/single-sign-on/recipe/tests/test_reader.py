def test_the_wiki_knows_who_reads(log_in, app):
    browser, _ = log_in()
    assert browser.ask("GET", "/wiki/reader").text.strip() == f"anna@{app.domain}"
