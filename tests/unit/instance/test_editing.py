"""Changes of instance.yaml by a program: only the lines of the changed fact differ."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agency.instance.editing.lines import with_entry, without_entry
from agency.instance.editing.rewriting import plan_recipe, plan_recipients
from agency.instance.load import load_instance
from agency.instance.problems import InstanceError
from agency.instance.render import check_rendered

WIKI = {"repository": "recipes/wiki"}
HOSTS = """\
# of all
domain: x.example  # for ever

recipes:
  # the pads
  hedgedoc:
    repository: 'recipes/hedgedoc'  # moved

# The workers of the next section
agents: {}
"""


def test_an_entry_is_added_before_the_comment_of_the_next_section():
    added = with_entry(HOSTS, ("recipes",), "wiki", WIKI)
    assert added == HOSTS.replace("# moved\n", "# moved\n  wiki:\n    repository: recipes/wiki\n")
    assert without_entry(added, ("recipes",), "wiki") == HOSTS


def test_the_comment_of_the_next_section_stays_when_the_entry_above_it_goes():
    two = with_entry(HOSTS, ("recipes",), "wiki", WIKI)
    left = without_entry(two, ("recipes",), "hedgedoc")
    assert "# The workers of the next section\nagents: {}\n" in left
    assert yaml.safe_load(left) == {
        "domain": "x.example", "recipes": {"wiki": WIKI}, "agents": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: 1\n", "a: 1\n\nrecipes:\n  wiki:\n    repository: recipes/wiki\n"),
        ("a: 1", "a: 1\n\nrecipes:\n  wiki:\n    repository: recipes/wiki\n"),
        ("recipes: {}  # none\na: 1\n",
         "recipes:  # none\n  wiki:\n    repository: recipes/wiki\na: 1\n"),
        ("recipes:\na: 1\n", "recipes:\n  wiki:\n    repository: recipes/wiki\na: 1\n"),
        ("recipes: {x: {repository: a/b}}\n",
         "recipes: {x: {repository: a/b}, wiki: {repository: recipes/wiki}}\n"),
        ("recipes:\n    x: {repository: a/b}\n",
         "recipes:\n    x: {repository: a/b}\n    wiki:\n      repository: recipes/wiki\n"),
    ],
)  # fmt: skip
def test_an_entry_is_added_in_the_form_that_is_there(before, after):
    assert with_entry(before, ("recipes",), "wiki", WIKI) == after


def test_the_last_entry_leaves_an_empty_mapping():
    left = without_entry(HOSTS, ("recipes",), "hedgedoc")
    assert yaml.safe_load(left) == {"domain": "x.example", "recipes": {}, "agents": {}}
    assert "# The workers of the next section\n" in left


def test_a_name_that_yaml_reads_as_something_else_is_quoted():
    assert yaml.safe_load(with_entry("", ("recipes",), "on", WIKI)) == {"recipes": {"on": WIKI}}


def test_a_nested_mapping_that_is_not_there_is_made():
    text = "secrets:\n  provider: sops\n\n# end\n"
    assert with_entry(text, ("secrets", "recipients"), "ann", "age1x") == (
        "secrets:\n  provider: sops\n  recipients:\n    ann: age1x\n\n# end\n"
    )


NAMES = st.sampled_from(["a", "b", "on", "1", "x-y"])


@given(
    st.dictionaries(NAMES, st.builds(dict, st.just(WIKI))),
    st.lists(st.tuples(NAMES, st.booleans())),
)
def test_any_changes_give_the_same_mapping_and_keep_every_comment(begin, changes):
    told = yaml.safe_dump({"recipes": begin}) if begin else "recipes:\n"
    text = f"# first\n{told}# next\nafter: 1\n# last\n"
    wanted = dict(begin)
    for name, add in changes:
        if add:
            text, wanted[name] = with_entry(text, ("recipes",), name, WIKI), WIKI
        else:
            text = without_entry(text, ("recipes",), name)
            wanted.pop(name, None)
    assert yaml.safe_load(text) == {
        "recipes": wanted or yaml.safe_load(text)["recipes"],
        "after": 1,
    }
    assert not yaml.safe_load(text)["recipes"] or wanted
    assert text.startswith("# first\n")
    assert text.endswith("# next\nafter: 1\n# last\n")


KEYS = {name: f"age1{letter * 58}" for name, letter in (("ann", "q"), ("bob", "p"), ("eve", "z"))}
INSTANCE = f"""\
version: 1
name: example
domain: agency.example
operators: ["@alice:agency.example"]
secrets:
  provider: sops
  recipients:
    ann: {KEYS["ann"]}
    bob: {KEYS["bob"]}

# What this agency runs
services: {{matrix: {{enable: true}}}}
"""


def test_recipients_change_without_moving_a_comment(tmp_path):
    file = tmp_path / "instance.yaml"
    file.write_text(INSTANCE)
    loaded = load_instance(tmp_path, check_recipients=False)
    gone = plan_recipients(loaded, {"ann": KEYS["ann"]})
    assert gone.after.decode() == INSTANCE.replace(f"    bob: {KEYS['bob']}\n", "")
    more = plan_recipients(loaded, KEYS)
    assert f"bob: {KEYS['bob']}\n    eve: {KEYS['eve']}\n\n# What" in more.after.decode()


def test_a_recipe_is_planned_and_its_rendering_follows(tmp_path):
    file = tmp_path / "instance.yaml"
    file.write_text(INSTANCE)
    edit = plan_recipe(load_instance(tmp_path, check_recipients=False), "wiki", "recipes/wiki")
    assert edit.difference() == ["+", "+recipes:", "+  wiki:", "+    repository: recipes/wiki"]
    assert file.read_text() == INSTANCE
    edit.write()
    loaded = load_instance(tmp_path, check_recipients=False)
    assert loaded.instance.recipes["wiki"].repository == "recipes/wiki"
    assert check_rendered(loaded) == ()
    assert plan_recipe(loaded, "wiki", "recipes/wiki").difference() == []
    back = plan_recipe(loaded, "wiki", None)
    back.write()
    assert load_instance(tmp_path, check_recipients=False).instance.recipes == {}


def test_a_repository_that_is_none_is_refused(tmp_path):
    (tmp_path / "instance.yaml").write_text(INSTANCE)
    loaded = load_instance(tmp_path, check_recipients=False)
    with pytest.raises(InstanceError, match="owner/name"):
        plan_recipe(loaded, "wiki", "wiki")
