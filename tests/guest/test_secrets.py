"""Promise: a secret is readable by the service it is for, and by no agent.

Secrets on disk, credentials of units, what the control plane hands to another agent, its database,
the age key.
"""

import pytest

from agency import naming

PLACES = ("/run/secrets", "/run/credentials", "/run/agency-control", "/var/lib/agency")
OTHERS = ("/var/lib/agency-control/control.db", "/etc/shadow")
DIRECTORIES = ("/run/secrets", "/run/agency-control", "/var/lib/agency-control")


@pytest.fixture(scope="module")
def kept(host) -> list[str]:
    """Every file that holds a secret."""
    files = host.run("find -H %s %s %s %s -type f", *PLACES).stdout.split()
    assert files, "there are no secrets: the tests show nothing"
    there = {*files, *(path for path in OTHERS if host.file(path).exists)}
    return sorted(path for path in there if host.file(path).size)


@pytest.fixture(scope="module")
def read_as(run_as):
    """Reads files as a user; see `readable`."""

    def read_as(user: str, files: list[str]) -> list[str]:
        return readable(lambda *argv: run_as(user, *argv), files)

    return read_as


def readable(run, files: list[str]) -> list[str]:
    text = 'for file in "$@"; do head -c 1 "$file" >/dev/null 2>&1 && echo "$file"; done'
    return run("sh -c %s sh " + " ".join("%s" for _ in files), text, *files).stdout.split()


@pytest.mark.claim("secrets-unread", "secrets", disturbs=False)
def test_no_agent_reads_a_secret(read_as, pair, kept):
    for name in pair:
        units = [naming.agent_unit(name)]
        units += [f"agency-agent-{what}@{name}.service" for what in ("gateway", "chat")]
        own = tuple(f"/run/credentials/{unit}/" for unit in units)
        others = [path for path in kept if not path.startswith(own)]
        assert read_as(naming.agent_user(name), others) == []


@pytest.mark.claim("secrets-readable-by-root", "secrets", disturbs=False, control=True)
def test_root_reads_every_secret(host, kept):
    assert readable(host.run, kept) == kept


@pytest.mark.claim("secrets-unlisted", "secrets", disturbs=False)
def test_no_agent_lists_where_secrets_are(host, run_as, pair):
    for path in DIRECTORIES:
        if path == "/run/secrets" and host.file(path).mode & 0o004:
            pytest.fail("everybody may list the secrets")
        assert run_as(naming.agent_user(pair[0]), "ls %s", path).rc != 0, path
        assert host.run("ls %s", path).rc == 0, path


@pytest.mark.claim("credentials-of-service", "own-token", disturbs=False, control=True)
def test_a_service_reads_its_own_credentials_alone(host, read_as, kept):
    """What the control plane was given is there for it; what others were given is not."""
    own = "/run/credentials/agency-control.service"
    files = sorted(host.run("find %s -type f", own).stdout.split())
    assert {path.rsplit("/", 1)[1] for path in files} >= {"matrix-as-token", "matrix-hs-token"}
    assert read_as("agency-control", files) == files
    assert read_as("nobody", files) == []
    theirs = (f"{own}/", "/run/agency-control/", "/var/lib/agency-control/")
    others = [path for path in kept if not path.startswith(theirs)]
    assert {path.split("/")[2] for path in others} >= {"secrets", "credentials"}
    assert read_as("agency-control", others) == []


@pytest.mark.claim("token-of-another", "own-token", disturbs=True)
def test_an_agents_token_is_for_it_and_the_control_plane(host, running, run_as, inside):
    mine, other = running
    token = f"/run/agency-control/agents/{other}.token"
    assert run_as("agency-control", "test -s %s", token).rc == 0
    assert inside(other, 'test -s "$CREDENTIALS_DIRECTORY/acp-token"').rc == 0
    handed = f"/run/credentials/{naming.agent_unit(other)}/acp-token"
    assert host.run("test -s %s", handed).rc == 0
    read = f"for file in {token} {handed}; do cat $file >/dev/null && echo $file; done"
    assert host.run(read).stdout.split() == [token, handed], "root can"
    assert run_as(naming.agent_user(mine), read).stdout == ""
    assert inside(mine, read).stdout == ""


@pytest.mark.claim("no-secret-in-processes", "secrets", disturbs=True)
def test_no_secret_is_in_a_command_line_or_environment(host, running, kept):
    """Of any process; the test can tell, because a program that has one is found."""
    search = (
        "for file in $(find -H /run/secrets /run/agency-control -type f ! -name '*.json' "
        "! -name '*.yaml'); do grep -slaF -f \"$file\" /proc/[0-9]*/cmdline /proc/[0-9]*/environ; "
        "done | sort -u"
    )
    assert host.run(search).stdout.split() == []
    leak = (
        'LEAK="$(cat "$(find -H /run/secrets -type f ! -name \'*.yaml\' | head -n 1)")" '
        "sleep 30 & pid=$!; until grep -qsa LEAK= /proc/$pid/environ; do sleep 0.01; done; "
        + search
        + "; kill $pid"
    )
    assert "/environ" in host.run(leak).stdout
