from conftest import LARGE, PART_BYTES, PARTS, part


def test_every_byte_of_the_large_object_is_there(s3, run_marker):
    assert s3("HEAD", LARGE).headers["Content-Length"] == str(PART_BYTES * PARTS)
    for number in range(1, PARTS + 1):
        start = (number - 1) * PART_BYTES
        answer = s3("GET", LARGE, Range=f"bytes={start}-{start + PART_BYTES - 1}")
        assert answer.status == 206
        assert answer.body == part(number, run_marker), f"part {number} differs"
