def test_the_certificate_of_the_app_itself_reaches_the_client(app):
    certificate = app.certificate()
    assert certificate.names == (app.domain.partition(".")[0] + "." + app.domain.partition(".")[2],)
    assert certificate.issuer == "the authority of the app"


def test_it_ends_tls_itself(app):
    assert app.get("/").text.startswith("ended by the app: TLSv1.3")
