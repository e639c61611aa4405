"""Lists that are read page by page, of which single objects are too large to be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.forge.contract import MOST
from agency.forge.errors import ForgeTooLargeError
from agency.forge.paging import LEAVING_OUT, PAGE, WHOLE, read_pages


def forge_with(sizes: list[int], bound: int = 100):
    async def read(page: int, size: int):
        found = range(len(sizes))[(page - 1) * size : page * size]
        if sum(sizes[each] for each in found) > bound:
            raise ForgeTooLargeError("too large", where="GET /list")
        return [{"id": each} for each in found]

    return read


@given(st.lists(st.sampled_from([1, 60, 200]), max_size=130))
async def test_what_is_too_large_alone_is_left_out_and_nothing_else(sizes: list[int]) -> None:
    listed = await read_pages(forge_with(sizes), LEAVING_OUT)
    assert [each["id"] for each in listed.objects] == [
        number for number, size in enumerate(sizes) if size <= 100
    ]
    assert not listed.cut


async def test_where_all_must_be_read_a_page_that_is_too_large_is_an_error() -> None:
    assert len((await read_pages(forge_with([1] * 60), WHOLE)).objects) == 60
    with pytest.raises(ForgeTooLargeError):
        await read_pages(forge_with([1] * PAGE + [200]), WHOLE)


@pytest.mark.parametrize("sizes", [WHOLE, LEAVING_OUT])
async def test_a_long_list_is_cut(sizes: tuple[int, ...]) -> None:
    listed = await read_pages(forge_with([1] * (MOST + 7)), sizes)
    assert (len(listed.objects), listed.cut) == (MOST, True)
