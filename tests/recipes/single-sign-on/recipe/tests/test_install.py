def test_a_stranger_is_sent_to_the_provider(stranger):
    page = stranger.open("GET", "/wiki/")
    assert stranger.seen[-1] == "/login"
    assert 'name="login"' in page.text
    assert "The wiki of" not in page.text


def test_a_member_logs_in_and_comes_back_with_a_code(log_in, app):
    browser, page = log_in()
    assert page.status == 200
    assert f"The wiki of {app.domain}" in page.text
    assert browser.seen[-1] == "/wiki/"
    assert any(one.startswith("/oauth2/callback?code=") for one in browser.seen)


def test_a_wrong_password_opens_nothing(log_in, app):
    browser, page = log_in("not the password")
    assert f"The wiki of {app.domain}" not in page.text
    assert browser.open("GET", "/wiki/").status == 200
    assert browser.seen[-1] != "/wiki/"


def test_a_cookie_that_nobody_signed_opens_nothing(stranger):
    stranger.cookies["_oauth2_proxy"] = "bWFkZSB1cA==|1795735415|made-up"
    assert stranger.ask("PUT", "/wiki/mine.html", "mine").status == 302
