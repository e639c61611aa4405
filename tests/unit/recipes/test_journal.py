import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import PrerequisiteError
from agency.recipes import journal as module
from agency.recipes.journal import Censor, Journal
from agency.secrets import SecretValue

SECRET = 'hunter"2/+hunter'
FORMS = [
    SECRET,
    json.dumps(SECRET)[1:-1],
    base64.b64encode(b"user:" + SECRET.encode()).decode(),
    "hunter%222%2F%2Bhunter",
]


@given(st.sampled_from(FORMS), st.data())
def test_a_secret_is_not_stored_however_it_is_cut(tmp_path_factory, form, data):
    path = tmp_path_factory.mktemp("log") / "x.log"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(form)), max_size=4)))
    censor = Censor()
    censor.add([SecretValue(SECRET)])
    with Journal(path, censor) as journal:
        journal.write(b"before ")
        for start, end in zip([0, *cuts], [*cuts, len(form)], strict=True):
            journal.write(form[start:end].encode())
        journal.write(b" after\n")
    stored = path.read_text()
    assert "[***]" in stored
    assert "hunter" not in stored
    assert stored.startswith("before ")
    assert stored.endswith(" after\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_secrets_that_are_made_during_a_log_are_known_from_then_on(tmp_path):
    censor = Censor()
    with Journal(tmp_path / "x.log", censor) as journal:
        journal.write(b"first hunter22")
        censor.add([SecretValue("hunter22")])
        journal.write(b" then hunter22\n")
    assert (tmp_path / "x.log").read_text() == "first hunter22 then [***]\n"


def test_a_log_without_end_is_cut_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with Journal(tmp_path / "x.log", Censor()) as journal:
        for _ in range(50):
            journal.write(b"x" * 100)
    stored = (tmp_path / "x.log").read_text()
    assert len(stored) < 1100
    assert "the log ends here" in stored


def test_letters_cut_between_two_writes_are_kept(tmp_path):
    data = "größer\n".encode()
    with Journal(tmp_path / "x.log", Censor()) as journal:
        for byte in data:
            journal.write(bytes([byte]))
    assert (tmp_path / "x.log").read_bytes() == data


def test_a_name_that_is_no_utf8_is_told(tmp_path):
    with Journal(tmp_path / "x.log", Censor()) as journal:
        journal.say("$ pytest test_\udcff.py")
    assert (tmp_path / "x.log").read_text() == "$ pytest test_?.py\n"


def test_a_link_in_the_place_of_a_log_is_not_followed(tmp_path):
    (tmp_path / "x.log").symlink_to(tmp_path / "other")
    with pytest.raises(module.PrerequisiteError):
        Journal(tmp_path / "x.log", Censor())


@pytest.mark.parametrize(
    "shown", ["Xy7-kd93Lmq2...Aw4_zR8tN1vC", "Xy7-kd93...", "q2pB5sAw4_zR8tN1vC", "zR8tN1vC"]
)
def test_the_beginning_or_the_end_of_a_secret_is_not_stored_either(tmp_path, shown):
    # pytest shortens long values so in the message of a failed assertion
    secret = "Xy7-kd93Lmq2pB5sAw4_zR8tN1vC"
    censor = Censor()
    censor.add([SecretValue(secret)])
    with Journal(tmp_path / "x.log", censor) as journal:
        journal.write(f"assert '{shown}' == 'no'\n".encode())
    stored = (tmp_path / "x.log").read_text()
    assert "[***]" in stored
    assert not any(secret[at : at + 4] in stored for at in range(len(secret) - 3))


@pytest.mark.parametrize("length", range(9, 33))
def test_of_a_secret_of_any_length_no_piece_at_an_end_is_stored(length):
    secret = "AbcdefghijKLmnopqrstUVwxyz012345"[:length]
    censor = Censor()
    censor.add([SecretValue(secret)])
    for piece in range(8, length):
        for shown in (secret[:piece], secret[-piece:]):
            stored = censor.clean(f"'{shown}...'")
            assert "[***]" in stored
            assert len(stored) <= len("'[***]...'") + 3, stored


def test_what_is_no_secret_is_stored_as_it_is(tmp_path):
    censor = Censor()
    censor.add([SecretValue("Xy7-kd93Lmq2pB5sAw4_zR8tN1vC")])
    assert censor.clean("Xy7-kd9 and 9tN1vC and Aw4_zR8t") == "Xy7-kd9 and 9tN1vC and Aw4_zR8t"


def test_a_log_that_cannot_be_stored_ends_the_work_unless_it_may_be_lost(tmp_path):
    nowhere = tmp_path / "none" / "log"
    with pytest.raises(PrerequisiteError, match="cannot write the log"):
        Journal(nowhere, Censor())
    with Journal(nowhere, Censor(), lossy=True) as journal:
        journal.say("lost")
    with Journal(tmp_path / "log", Censor(), lossy=True) as journal:
        journal.say("kept")
    assert (tmp_path / "log").read_text() == "kept\n"
