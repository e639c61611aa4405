import re

from conftest import BUCKET, LARGE, PARTS, part


def test_an_object_of_100_mb_is_written_in_parts(s3, run_marker):
    assert s3("PUT", BUCKET).status in (200, 409)
    begun = s3("POST", LARGE, query="uploads=")
    upload = re.search(r"<UploadId>([^<]+)</UploadId>", begun.text)[1]
    tags = []
    for number in range(1, PARTS + 1):
        query = f"partNumber={number}&uploadId={upload}"
        tags.append(s3("PUT", LARGE, part(number, run_marker), query=query).headers["Etag"])
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
        for number, tag in enumerate(tags, start=1)
    )
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    done = s3("POST", LARGE, body, query=f"uploadId={upload}")
    assert done.status == 200, done.text
    assert "CompleteMultipartUploadResult" in done.text
