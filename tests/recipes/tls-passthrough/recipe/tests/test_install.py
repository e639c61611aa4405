def test_the_certificate_of_the_app_itself_reaches_the_client(app):
    certificate = app.certificate()
    assert certificate.issuer == "the authority of the app"
    assert certificate.names == (f"*.{app.domain.partition('.')[2]}",)


def test_the_app_ends_tls_itself(app):
    assert app.get("/").text.startswith("ended by the app: TLSv1")


def test_it_reaches_a_browser_too(page):
    assert page.goto("/").security_details()["issuer"] == "the authority of the app"
