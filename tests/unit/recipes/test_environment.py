import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import BadInputError
from agency.recipes.recipe.environment import read_environment, values, with_values

SAMPLE = """\
TYPE=wiki
DOMAIN=wiki.example.com
## Domain aliases
#EXTRA_DOMAINS=', `www.wiki.example.com`'
LETS_ENCRYPT_ENV=production
COMPOSE_FILE="compose.yml"
COMPOSE_FILE="$COMPOSE_FILE:compose.postgres.yml"
export MAIL='$literal'
TITLE=a b # said  x=1
SECRET_DB_PASSWORD_VERSION=v1  # length=32 charset=hex
URL=https://${DOMAIN}/#fragment
FALLBACK=${NOBODY:-else}
COST=\\$5
"""


def test_values_refer_to_those_above():
    found = values(read_environment(SAMPLE))
    assert found["COMPOSE_FILE"] == "compose.yml:compose.postgres.yml"
    assert found["URL"] == "https://wiki.example.com/#fragment"
    assert found["MAIL"] == "$literal"
    assert found["TITLE"] == "a b"
    assert found["FALLBACK"] == "else"
    assert found["COST"] == "$5"
    assert "EXTRA_DOMAINS" not in found


def test_the_comment_of_a_secret_holds_its_modifiers():
    secret = next(v for v in read_environment(SAMPLE) if v.name.startswith("SECRET_"))
    assert (secret.value, secret.modifiers) == ("v1", {"length": "32", "charset": "hex"})


def test_what_is_set_is_seen_by_the_lines_below_it():
    text = with_values(SAMPLE, {"DOMAIN": "x.test", "NEW": "1"})
    found = values(read_environment(text))
    assert (found["DOMAIN"], found["URL"], found["NEW"]) == (
        "x.test",
        "https://x.test/#fragment",
        "1",
    )


@pytest.mark.parametrize("line", ["no assignment", "A='open", 'B="x" y', "1A=2"])
def test_a_bad_line_is_named(line):
    with pytest.raises(BadInputError) as caught:
        read_environment(f"OK=1\n{line}\n")
    assert caught.value.where == ".env.sample:2"


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,8}", fullmatch=True),
        st.from_regex(r"[a-z0-9.]{0,9}", fullmatch=True),
    )
)
def test_what_was_set_is_read_again(wanted):
    assert values(read_environment(with_values("", wanted))) == wanted
