ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


def test_an_older_version_of_an_object_can_be_read(s3):
    assert s3("PUT", "/versions").status == 200
    assert s3("PUT", "/versions", ENABLED, query="versioning=").status == 200
    first = s3("PUT", "/versions/plan", b"the first").headers["X-Amz-Version-Id"]
    assert s3("PUT", "/versions/plan", b"the second").status == 200
    assert s3("GET", "/versions/plan").body == b"the second"
    assert s3("GET", "/versions/plan", query=f"versionId={first}").body == b"the first"
