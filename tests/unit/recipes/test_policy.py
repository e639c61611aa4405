# ruff: noqa: E501 - a recipe a line

import pytest

from agency.recipes.policy import violations
from agency.recipes.recipe.read import read_recipe

GOOD = """\
services:
  app:
    image: nginx
    volumes: ["data:/data", "conf:/etc/conf:ro"]
    networks: [proxy, internal]
    cap_add: [NET_BIND_SERVICE]
    configs: [{source: conf, target: /x}]
networks:
  proxy: {external: true}
  internal: {}
volumes: {data: {}, conf: {driver_opts: {type: tmpfs, device: tmpfs}}}
configs:
  conf: {name: "${STACK_NAME}_conf_v1", file: nginx.conf.tmpl, template_driver: golang}
"""

BAD = {
    "privileged": "services:\n  app:\n    image: x\n    privileged: true\n",
    "privileged by a variable": "services:\n  app:\n    image: x\n    privileged: ${YES:-true}\n",
    "docker-socket": "services:\n  app:\n    volumes:\n      - /var/run/docker.sock:/s:ro\n",
    "docker-socket hidden": "services:\n  app:\n    volumes:\n      - ${HIDDEN}:/s\n",
    "docker-socket long": "services:\n  app:\n    volumes:\n      - {type: bind, source: /run/docker.sock, target: /s}\n",
    "host-network": "services:\n  app:\n    image: x\n    network_mode: host\n",
    "host-network named": "services: {app: {image: x}}\nnetworks:\n  out:\n    {external: true, name: host}\n",
    "host-network short": "services: {app: {image: x}}\nnetworks:\n  out:\n    {external: {name: host}}\n",
    "host-pid": "services:\n  app:\n    image: x\n    pid: host\n",
    "host-ipc": "services:\n  app:\n    image: x\n    ipc: host\n",
    "bind-mount": "services:\n  app:\n    volumes:\n      - /etc:/e\n",
    "bind-mount relative": "services:\n  app:\n    volumes:\n      - ../..:/e\n",
    "bind-mount of home": "services:\n  app:\n    volumes:\n      - ~/.ssh:/e\n",
    "bind-mount by driver": "services: {app: {image: x}}\nvolumes:\n  v:\n    driver_opts: {type: none, o: 'bind', device: /}\n",
    "bind-mount of a disk": "services: {app: {image: x}}\nvolumes:\n  v:\n    driver_opts: {type: ext4, device: /dev/sda1}\n",
    "devices": "services:\n  app:\n    image: x\n    devices: [/dev/kmsg]\n",
    "capability": "services:\n  app:\n    image: x\n    cap_add: [CAP_SYS_ADMIN]\n",
    "outside-file": "services: {app: {image: x}}\nsecrets:\n  s:\n    file: /etc/shadow\n",
    "outside-file above": "services: {app: {image: x}}\nconfigs:\n  s:\n    file: a/../../key\n",
    "other-files": "services:\n  app:\n    image: x\n    extends: {file: y.yml, service: z}\n",
    "privileged by an anchor": "services:\n  app: &a\n    image: x\n    privileged: yes\n",
}  # fmt: skip


def recipe(place, compose, **more):
    (place / ".env.sample").write_text(
        "TYPE=a\nHIDDEN=/var/run/docker.sock\nCOMPOSE_FILE=compose.yml"
        + "".join(f":{name}.yml" for name in more)
    )
    for name, text in {"compose": compose, **more}.items():
        (place / f"{name}.yml").write_text(text)
    return read_recipe(place, "a", "a.ci.test")


def test_an_ordinary_recipe_is_not_refused(tmp_path):
    assert violations(recipe(tmp_path, GOOD)) == ()


@pytest.mark.parametrize("kind", BAD)
def test_what_reaches_the_host_is_refused_with_its_line(tmp_path, kind):
    found = violations(recipe(tmp_path, BAD[kind]))
    assert [one.rule for one in found] == [kind.split()[0]]
    file, _, line = found[0].where.partition(":")
    at = BAD[kind].splitlines()[int(line) - 1]
    assert file == "compose.yml"
    words = (
        "privileged",
        "sock",
        "HIDDEN",
        "host",
        "out",
        "/e",
        "device",
        "cap_add",
        "file",
        "extends",
    )
    assert any(word in at for word in words), at


def test_a_file_that_overrides_is_examined_too(tmp_path):
    found = violations(recipe(tmp_path, GOOD, over="services:\n  app:\n    pid: host\n"))
    assert [(one.rule, one.where) for one in found] == [("host-pid", "over.yml:3")]


def test_a_name_that_docker_would_refuse_is_named_before_the_run(tmp_path):
    long = (
        "services: {app: {image: x}}\nsecrets:\n  s: {external: true, name: '${STACK_NAME}_%s'}\n"
    )
    (found,) = violations(recipe(tmp_path, long % ("x" * 60)))
    assert found.rule == "name-too-long"
    assert violations(recipe(tmp_path, long % ("x" * 40))) == ()
