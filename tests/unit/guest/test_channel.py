"""The open way to a machine, tried with this machine's own shell at its other end."""

import sys

import pytest
from channel import MAX_OUTPUT, TIMED_OUT, Channel, ChannelError


@pytest.fixture
def channel():
    with Channel(("env",), python=sys.executable) as channel:
        yield channel


def test_a_command_gives_its_status_and_both_outputs(channel):
    ran = channel.run("printf out; printf err >&2; exit 3")
    assert (ran.status, ran.stdout, ran.stderr) == (3, b"out", b"err")


def test_commands_follow_one_another(channel):
    assert [channel.run(f"echo {n}").stdout for n in range(3)] == [b"0\n", b"1\n", b"2\n"]


def test_bytes_pass_as_they_are(channel):
    assert channel.run(r"printf '\000\377\n'").stdout == b"\x00\xff\n"
    assert channel.run("printf '%s' 'ünï'").stdout.decode() == "ünï"


def test_a_command_has_no_input(channel):
    assert channel.run("cat").stdout == b""


def test_a_signal_is_told(channel):
    assert channel.run("kill -KILL $$").status == -9


def test_what_takes_too_long_is_killed_and_the_next_one_runs(channel):
    assert channel.run("sleep 600", timeout_s=1).status == TIMED_OUT
    assert channel.run("echo on").stdout == b"on\n"


def test_a_program_left_in_the_background_holds_nothing_up(channel):
    started = channel.run("sleep 600 & echo $!")
    assert started.status == 0
    assert channel.run(f"kill {started.stdout.decode()}").status == 0


def test_output_without_end_is_cut(channel):
    ran = channel.run(f"head -c {MAX_OUTPUT + 10} /dev/zero")
    assert len(ran.stdout) == MAX_OUTPUT
    assert channel.run("echo on").stdout == b"on\n"


def test_a_shell_between_changes_nothing():
    shell = ("sh", "-c", 'exec sh -c "$1"', "sh")  # hands on one line, as ssh does
    with Channel(shell, python=sys.executable, one_line=True) as channel:
        assert channel.run("printf '%s' \"a  b\" '$HOME'").stdout == b"a  b$HOME"


def test_a_machine_that_is_not_there_is_told_with_the_reason():
    with (
        Channel(("sh", "-c", "echo no such machine >&2; exit 1")) as channel,
        pytest.raises(ChannelError, match="no such machine"),
    ):
        channel.run("true")


def test_a_way_that_breaks_is_told(channel):
    with pytest.raises(ChannelError, match="ended"):
        channel.run("kill -KILL $PPID")
    with pytest.raises(ChannelError):
        channel.run("true")
