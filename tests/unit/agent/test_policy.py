"""The Gosuto that an agent is given: its own, whole, in a format that it reads."""

from __future__ import annotations

import pytest
from gosutos import filled

from agency.agent.policy import check_document
from agency.gosuto import canonical


def test_its_own_document_is_held():
    check_document("pm", canonical(filled("pm")))


@pytest.mark.parametrize(
    ("agent", "content", "said"),
    [
        ("developer", canonical(filled("pm")), "the Gosuto of pm, not of developer"),
        ("pm", canonical(filled("pm")).replace(b"gosuto/v1", b"gosuto/v2"), "not a Gosuto"),
        ("pm", canonical(filled("pm")).replace(b'"ask"', b'"yes"'), "not a Gosuto"),
        ("pm", canonical(filled("pm"))[:-1], "not JSON"),
        ("pm", b"apiVersion: gosuto/v1\n", "not JSON"),
    ],
)
def test_another_is_refused_with_a_reason(agent, content, said):
    with pytest.raises(ValueError, match=said):
        check_document(agent, content)
