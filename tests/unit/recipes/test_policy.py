# ruff: noqa: E501 - a recipe a line

import shutil
from pathlib import Path

import pytest

from agency.recipes.policy import violations
from agency.recipes.recipe.read import read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
GOOD = """\
services:
  app:
    image: nginx
    volumes: ["data:/data", "conf:/etc/conf:ro"]
    networks: [proxy, internal]
    cap_add: [NET_BIND_SERVICE]
    configs: [{source: conf, target: /x}]
    secrets: [db_password, own]
    env_file: [settings.env]
    tmpfs: /tmp
  worker:
    image: nginx
    env_file: settings.env
    volumes:
      - {type: volume, source: data, target: /data, volume: {nocopy: true}}
      - {type: tmpfs, target: /scratch}
      - /anonymous
networks:
  proxy: {external: true}
  internal:
  further: {driver: overlay, attachable: true, internal: true, driver_opts: {encrypted: ""}}
  named: {name: "${STACK_NAME}_named"}
  shared: {external: {name: proxy}}
volumes:
  data:
  conf: {driver_opts: {type: tmpfs, device: tmpfs, o: "size=10m, uid=1000,nosuid"}}
  old: {external: true, name: "${STACK_NAME}_old"}
  local: {driver: local, name: "${STACK_NAME}_local"}
secrets:
  db_password: {external: true, name: "${STACK_NAME}_db_password_${SECRET_DB_PASSWORD_VERSION}"}
  own: {file: parts/own.txt}
configs:
  conf: {name: "${STACK_NAME}_conf_v1", file: nginx.conf.tmpl, template_driver: golang}
  linked: {file: parts/../linked.conf}
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
    "outside-file env": "services:\n  app:\n    image: x\n    env_file: /etc/environment\n",
    "outside-file env dict": "services:\n  app:\n    image: x\n    env_file: [{path: ../file}]\n",
    "outside-file directory": "services: {app: {image: x}}\nconfigs:\n  s:\n    file: parts\n",
    "outside-file missing": "services: {app: {image: x}}\nconfigs:\n  s:\n    file: missing\n",
    "outside-file linked": "services: {app: {image: x}}\nconfigs:\n  s:\n    file: file-of-the-host\n",
    "outside-file below a link": "services: {app: {image: x}}\nsecrets:\n  s:\n    file: files-of-the-host/key\n",
    "outside-file linked twice": "services: {app: {image: x}}\nsecrets:\n  s:\n    file: file-linked-twice\n",
    "outside-file linked up": "services: {app: {image: x}}\nsecrets:\n  s:\n    file: file-linked-up\n",
    "outside-file by /proc": "services: {app: {image: x}}\nsecrets:\n  s:\n    file: file-by-proc\n",
    "outside-file in a circle": "services: {app: {image: x}}\nsecrets:\n  s:\n    file: file-in-a-circle\n",
    "outside-file env linked": "services:\n  app:\n    image: x\n    env_file: file-of-the-host\n",
    "bind-mount by rbind": "services: {app: {image: x}}\nvolumes:\n  v:\n    driver_opts: {type: none, o: rbind, device: etc}\n",
    "bind-mount by overlayfs": "services: {app: {image: x}}\nvolumes:\n  v:\n    driver_opts: {type: overlay, device: overlay, o: 'lowerdir=/etc:/root'}\n",
    "bind-mount by a tmpfs": "services: {app: {image: x}}\nvolumes:\n  v:\n    driver_opts: {type: tmpfs, device: tmpfs, o: 'size=1,bind'}\n",
    "bind-mount of half a tmpfs": "services: {app: {image: x}}\nvolumes:\n  v:\n    driver_opts: {device: tmpfs}\n",
    "bind-mount by nfs": "services: {app: {image: x}}\nvolumes:\n  v:\n    driver_opts: {type: nfs, device: ':/x', o: addr=192.0.2.1}\n",
    "bind-mount of another kind": "services:\n  app:\n    volumes:\n      - {type: cluster, source: group, target: /e}\n",
    "volume-driver": "services: {app: {image: x}}\nvolumes:\n  v:\n    driver: any/plugin-on-a-device\n",
    "network-driver": "services: {app: {image: x}}\nnetworks:\n  v:\n    driver: macvlan # device\n",
    "network-driver options": "services: {app: {image: x}}\nnetworks:\n  v:\n    driver_opts: {parent: device}\n",
    "foreign-name secret": "services: {app: {image: x}}\nsecrets:\n  s:\n    external: true\n    name: ${NOTHING}traefik_of_another_host_v1\n",
    "foreign-name secret short": "services: {app: {image: x}}\nsecrets:\n  s:\n    external: {name: traefik_of_another_host_v1}\n",
    "foreign-name secret by key": "services: {app: {image: x}}\nsecrets:\n  traefik_v1:\n    external: true # of the host\n",
    "foreign-name config": "services: {app: {image: x}}\nconfigs:\n  s:\n    external: true\n    name: other_host\n",
    "foreign-name volume": "services: {app: {image: x}}\nvolumes:\n  v:\n    external: true\n    name: other_host_data\n",
    "foreign-name volume made": "services: {app: {image: x}}\nvolumes:\n  v:\n    name: other_host_data\n",
    "foreign-name almost": "services: {app: {image: x}}\nvolumes:\n  v:\n    name: ${STACK_NAME}x_host_data\n",
    "foreign-name network": "services: {app: {image: x}}\nnetworks:\n  v:\n    name: other_host_internal\n",
    "foreign-name network external": "services: {app: {image: x}}\nnetworks:\n  docker_gwbridge:\n    external: true # host\n",
    "other-files": "services:\n  app:\n    image: x\n    extends: {file: y.yml, service: z}\n",
    "privileged by an anchor": "services:\n  app: &a\n    image: x\n    privileged: yes\n",
}  # fmt: skip


def recipe(place, compose, **more):
    (place / ".env.sample").write_text(
        "TYPE=a\nHIDDEN=/var/run/docker.sock\nCOMPOSE_FILE=compose.yml"
        + "".join(f":{name}.yml" for name in more)
    )
    host = place.parent / f"{place.name}-host"
    host.mkdir()
    (host / "key").write_text("of the host\n")
    (place / "parts").mkdir()
    for name in ("nginx.conf.tmpl", "settings.env", "parts/own.txt"):
        (place / name).write_text("")
    (place / "linked.conf").symlink_to("parts/../nginx.conf.tmpl")
    (place / "file-of-the-host").symlink_to(host / "key")
    (place / "files-of-the-host").symlink_to(host)
    (place / "file-linked-twice").symlink_to("file-of-the-host")
    (place / "file-linked-up").symlink_to(f"../{host.name}/key")
    (place / "file-by-proc").symlink_to(f"/proc/self/root{place}/settings.env")
    (place / "file-in-a-circle").symlink_to("file-in-a-circle")
    for name, text in {"compose": compose, **more}.items():
        (place / f"{name}.yml").write_text(text)
    return read_recipe(place, "a", "a.ci.test")


def test_an_ordinary_recipe_is_not_refused(tmp_path):
    assert violations(recipe(tmp_path, GOOD)) == ()


@pytest.mark.parametrize("kind", sorted(p.parent.name for p in RECIPES.glob("*/recipe")))
def test_the_projects_own_recipes_are_not_refused(tmp_path, kind):
    shutil.copytree(RECIPES / kind / "recipe", tmp_path, symlinks=True, dirs_exist_ok=True)
    (tmp_path / "tls.pem").touch()  # its test makes a certificate
    refused = [one.rule for one in violations(read_recipe(tmp_path, kind, "a.ci.test"))]
    assert refused == (["docker-socket"] if kind == "traefik" else [])
    published = RECIPES / kind / "published"
    if published.is_dir():
        shutil.copytree(published, tmp_path, dirs_exist_ok=True)
        assert violations(read_recipe(tmp_path, kind, "a.ci.test")) == ()


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


def test_nothing_is_put_together_of_two_files_that_are_allowed_alone(tmp_path):
    networks = "services: {app: {image: x}}\nnetworks:\n  proxy:\n    name: other_internal\n"
    found = violations(recipe(tmp_path, GOOD, over=networks))
    assert [(one.rule, one.where) for one in found] == [("foreign-name", "over.yml:4")]


def test_a_name_that_docker_would_refuse_is_named_before_the_run(tmp_path):
    long = (
        "services: {app: {image: x}}\nsecrets:\n  s: {external: true, name: '${STACK_NAME}_%s'}\n"
    )
    (tmp_path / "long").mkdir()
    (tmp_path / "short").mkdir()
    (found,) = violations(recipe(tmp_path / "long", long % ("x" * 60)))
    assert found.rule == "name-too-long"
    assert violations(recipe(tmp_path / "short", long % ("x" * 40))) == ()
