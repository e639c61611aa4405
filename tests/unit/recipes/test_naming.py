import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agency.coopcloud import stack_name
from agency.errors import UsageError
from agency.recipes.naming import app_domain, is_run_id, run_id

RECIPES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
NUMBERS = st.none() | st.integers(1, 10**10 - 1)
RUNS = st.binary(min_size=5, max_size=5).map(run_id)
ZONES = st.sampled_from(["ci.example.org", "ci." + "a" * 60 + ".example", "localhost"])
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


@given(RECIPES, NUMBERS, RUNS, ZONES)
def test_a_domain_is_dns_and_its_stack_keeps_the_run(recipe, number, run, zone):
    domain = app_domain(recipe, number, run, zone)
    label, _, rest = domain.partition(".")
    assert rest == zone
    assert LABEL.match(label)
    assert len(domain) <= 253
    assert run in stack_name(domain)
    assert len(stack_name(domain)) <= 45
    assert number is None or f"-pr-{number}-" in label


@given(RECIPES, RECIPES, NUMBERS, NUMBERS, RUNS, RUNS, ZONES)
def test_two_runs_never_share_a_stack(one, other, n, m, run, another, zone):
    assume(run != another)
    assert stack_name(app_domain(one, n, run, zone)) != stack_name(
        app_domain(other, m, another, zone)
    )


@given(st.binary(min_size=5, max_size=5), st.binary(min_size=5, max_size=5))
def test_a_runs_id_keeps_all_its_bits(one, other):
    assert is_run_id(run_id(one))
    assert (run_id(one) == run_id(other)) == (one == other)


@pytest.mark.parametrize("zone", ["", "a..b", "-a.b", "x" * 240, "a b", "a;id"])
def test_what_is_no_domain_is_refused(zone):
    with pytest.raises(UsageError):
        app_domain("a", None, "r00000000", zone)
