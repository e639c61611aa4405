"""Files of a room, read for the person who sent them and for nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from agency.control.execution.result import RefusalError
from agency.control.rooms.files import RoomFiles, media_of
from agency.matrix import MatrixError

ALICE = "@alice:x.org"
FILE: dict[str, Any] = {
    "type": "m.room.message",
    "sender": ALICE,
    "content": {
        "msgtype": "m.file",
        "body": "pm.yaml",
        "url": "mxc://x.org/AbC-1",
        "info": {"size": 10},
    },
}


def changed(**content: Any) -> dict[str, Any]:
    return {**FILE, "content": {**FILE["content"], **content}}


class Api:
    """A homeserver with one event and one file, which first answers with these errors."""

    def __init__(self, *errors: MatrixError, event: Any = FILE) -> None:
        self.errors, self.event, self.calls = list(errors), event, list[str]()

    def _call(self, path: str) -> None:
        self.calls.append(path)
        if self.errors:
            raise self.errors.pop(0)

    async def request(self, _method: str, path: str, **_: Any) -> Any:
        self._call(path)
        return self.event

    async def request_bytes(self, path: str, *, most: int, **_: Any) -> bytes:
        self._call(path)
        return b"the file"[:most]


async def no_sleep(_seconds: float) -> None:
    return None


async def read(api: Api, sender: str = ALICE) -> bytes:
    homeserver: Any = api
    files = RoomFiles(homeserver, "@agency:x.org", "x.org", 100, sleep=no_sleep)
    return await files.read("!r:x.org", "$file", sender)


async def test_a_file_is_read_by_the_id_of_its_message() -> None:
    api = Api()
    assert await read(api) == b"the file"
    assert api.calls == [
        "/_matrix/client/v3/rooms/%21r%3Ax.org/event/%24file",
        "/_matrix/client/v1/media/download/x.org/AbC-1",
    ]


@pytest.mark.parametrize("times", [1, 2])
async def test_a_homeserver_that_restarts_is_asked_again(times: int) -> None:
    api = Api(*(MatrixError("no answer", where="x") for _ in range(times)))
    assert await read(api) == b"the file"


async def test_it_is_not_asked_for_ever() -> None:
    api = Api(*(MatrixError("no answer", where="x") for _ in range(50)))
    with pytest.raises(RefusalError, match="could not be read: no answer"):
        await read(api)
    assert len(api.calls) == 3


async def test_what_it_refuses_is_asked_once() -> None:
    api = Api(MatrixError("HTTP 404 M_NOT_FOUND", where="x", status=404, errcode="M_NOT_FOUND"))
    with pytest.raises(RefusalError, match="404"):
        await read(api)
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (changed(msgtype="m.text"), "is no file"),
        ({**FILE, "type": "m.sticker"}, "is no file"),
        ({**FILE, "content": {}}, "is no file"),  # it was deleted
        ({**FILE, "content": None}, "is no file"),
        ({**FILE, "sender": "@bob:x.org"}, "not yours, but @bob:x.org's"),
        (changed(url=None, file={"url": "mxc://x.org/AbC-1"}), "encrypted"),
        (changed(url="mxc://evil.org/AbC-1"), "not on this homeserver"),
        (changed(url="mxc://x.org/AbC-1/../../x"), "not on this homeserver"),
        (changed(url="mxc://x.org/AbC-1?x=1"), "not on this homeserver"),
        (changed(url="https://x.org/AbC-1"), "not on this homeserver"),
        (changed(info={"size": 101}), "has 101 bytes, and a document has at most 100"),
    ],
)
def test_what_is_no_file_of_the_asker_is_refused(event: dict[str, Any], why: str) -> None:
    assert media_of(FILE, ALICE, "x.org", 100) == "AbC-1", "positive control"
    with pytest.raises(RefusalError, match=why):
        media_of(event, ALICE, "x.org", 100)


def test_a_size_that_lies_is_left_to_the_download() -> None:
    for info in (None, [], {"size": "101"}, {"size": -1}):
        assert media_of(changed(info=info), ALICE, "x.org", 100) == "AbC-1"
