"""Texts that Nix writes, read by the programs they are for; each program can also say no."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from binding import free_port
from synapse.config.homeserver import HomeServerConfig

Texts = dict[str, Any]
Find = Callable[[str, str], Any]
MODULES = Path(__file__).resolve().parents[3] / "modules"
STORE = re.compile(r"/nix/store/[a-z0-9]{32}-[^\s;\"']+")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("certificate")
    key, one = place / "key", place / "certificate"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    argv += ["-nodes", "-keyout", str(key), "-out", str(one), "-subj", "/CN=*.agency.example.org"]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return one, key


def _nginx(text: str, place: Path, modules: Path, certificate: tuple[Path, Path]) -> Path:
    """The configuration with the rest of the machine: certificate, types, a place to write."""
    one, key = certificate
    text = re.sub(r"/run/credentials/nginx\.service/wildcard-certificate-key", str(key), text)
    text = re.sub(r"/run/credentials/nginx\.service/wildcard-certificate\b", str(one), text)
    text = re.sub(r"/run/nginx/|/var/(log|spool|cache|lib)/nginx/", f"{place}/", text)
    # Files of nixpkgs that nothing has built: their kinds are known by their names.
    for path in set(STORE.findall(text)):
        stand_in = place / Path(path).name
        if not stand_in.exists():
            stand_in.write_text("types { text/html html; }\n" if "mime" in path else "")
        text = text.replace(path, str(stand_in))
    text = re.sub(r"(?m)^\s*(user|pid) .*;$", "", text)
    text = re.sub(r"listen (0\.0\.0\.0|\[::\]):443", rf"listen \1:{free_port()}", text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {place}/{kind};\n" for kind in kinds)
    temporary += f"access_log {place}/access;\n"
    text = re.sub(r"(?m)^http \{$", f"http {{\n{temporary}", text)
    # Debian has the module of streams apart; in NixOS's nginx it is built in.
    apart = modules / "ngx_stream_module.so"
    head = f"load_module {apart};\n" if apart.exists() else ""
    file = place / "nginx.conf"
    file.write_text(f"{head}pid {place}/nginx.pid;\n{text}")
    return file


def test_nginx_takes_the_edge(
    texts: Texts, program: Find, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    nginx = program("nginx", "nginx-light,libnginx-mod-stream")
    assert "ssl_preread on;" in texts["nginx"]
    assert "server_name matrix.agency.example.org" in texts["nginx"]
    file = _nginx(texts["nginx"], tmp_path, nginx.modules, certificate)
    nginx.run("-t", "-e", tmp_path / "error", "-p", tmp_path, "-c", file)
    file.write_text(file.read_text().replace("ssl_preread on;", "ssl_preread perhaps;"))
    with pytest.raises(AssertionError, match="ssl_preread"):
        nginx.run("-t", "-e", tmp_path / "error", "-p", tmp_path, "-c", file)


def test_prometheus_takes_its_configuration_and_rules(
    texts: Texts, program: Find, tmp_path: Path
) -> None:
    promtool = program("promtool", "prometheus")
    configuration = texts["prometheus"]
    rules = [tmp_path / name for name in texts["ruleFiles"]]
    for file, name in zip(rules, texts["ruleFiles"], strict=True):
        shutil.copy(next(MODULES.rglob(name.split("-", 1)[-1])), file)
    own = tmp_path / "own.rules"
    own.write_text("\n".join(texts["rules"]))
    assert len(configuration["rule_files"]) == len([*rules, own])
    configuration["rule_files"] = [str(one) for one in (*rules, own)]
    file = tmp_path / "prometheus.yml"
    file.write_text(json.dumps(configuration))
    promtool.run("check", "config", file)
    for one in (*rules, own):
        promtool.run("check", "rules", one)
    configuration["scrape_configs"][0]["scrape_interval"] = "often"
    file.write_text(json.dumps(configuration))
    with pytest.raises(AssertionError, match="often"):
        promtool.run("check", "config", file)


def test_the_blackbox_exporter_takes_its_modules(
    texts: Texts, program: Find, tmp_path: Path
) -> None:
    exporter = program("prometheus-blackbox-exporter", "prometheus-blackbox-exporter")
    file = tmp_path / "blackbox.yml"
    file.write_text(texts["blackbox"])
    exporter.run("--config.check", f"--config.file={file}")
    file.write_text(texts["blackbox"].replace('"http"', '"telepathy"'))
    with pytest.raises(AssertionError, match="telepathy"):
        exporter.run("--config.check", f"--config.file={file}")


def test_docker_takes_its_settings(texts: Texts, program: Find, tmp_path: Path) -> None:
    dockerd = program("dockerd", "docker.io")
    if "--validate" not in dockerd.run("--help"):
        pytest.skip("this dockerd cannot validate: 23.0 is the first that can (Debian trixie)")
    file = tmp_path / "daemon.json"
    assert texts["docker"]["cgroup-parent"] == "docker-apps.slice"
    file.write_text(json.dumps(texts["docker"]))
    dockerd.run("--validate", f"--config-file={file}")
    file.write_text(json.dumps(texts["docker"] | {"cgroup-father": "x"}))
    with pytest.raises(AssertionError, match="cgroup-father"):
        dockerd.run("--validate", f"--config-file={file}")


def test_sudo_takes_its_rules(texts: Texts, program: Find) -> None:
    visudo = program("visudo", "sudo")
    visudo.run("-c", "-f", "-", given=texts["sudo"])
    with pytest.raises(AssertionError, match="syntax error"):
        visudo.run("-c", "-f", "-", given=texts["sudo"] + "\nnobody may anything\n")


def test_the_kernel_has_what_sysctl_sets(texts: Texts, program: Find, tmp_path: Path) -> None:
    sysctl = program("sysctl", "procps")
    file = tmp_path / "60-nixos.conf"
    keys = [line.partition("=")[0] for line in texts["sysctl"].splitlines()]
    # Of modules or of a kernel's choices: where the kernel has them, sysctl must know them.
    here = [one for one in keys if Path("/proc/sys", one.replace(".", "/")).exists()]
    assert len(here) > len(keys) / 2
    lines = [line for line in texts["sysctl"].splitlines() if line.partition("=")[0] in here]
    file.write_text("\n".join(lines) + "\n")
    sysctl.run("--dry-run", f"--load={file}")
    file.write_text("kernel.no_such_key=1\n")
    with pytest.raises(AssertionError, match="no_such_key"):
        sysctl.run("--dry-run", f"--load={file}")


POLKIT = """
var rules = [];
var polkit = {
    Result: { NO: "no", YES: "yes", NOT_HANDLED: null, AUTH_ADMIN: "auth_admin" },
    addRule: function (rule) { rules.push(rule); },
    addAdminRule: function (rule) { rule({}, {}); },
    log: function () {}
};
%s
function ask(user, action, unit, verb) {
    var details = { unit: unit, verb: verb };
    var asked = { id: action, lookup: function (name) { return details[name]; } };
    for (var i = 0; i < rules.length; i++) {
        var said = rules[i](asked, { user: user, isInGroup: function () { return false; } });
        if (said !== null && said !== undefined) { return said; }
    }
    return "default";
}
var units = "org.freedesktop.systemd1.manage-units";
print([
    ask("agency-control", units, "agency-agent@pm.service", "start"),
    ask("agency-control", units, "sshd.service", "stop"),
    ask("agency-control", "org.freedesktop.login1.reboot", "", ""),
    ask("alice", units, "agency-agent@pm.service", "start")
].join(" "));
"""


def test_polkit_s_own_interpreter_takes_its_rules(
    texts: Texts, program: Find, tmp_path: Path
) -> None:
    """polkitd runs them in duktape, which knows less of the language than a browser does."""
    duktape = program("duk", "duktape")
    file = tmp_path / "rules.js"
    file.write_text(POLKIT % "\n".join(text for _, text in sorted(texts["polkit"].items())))
    assert duktape.run(file).strip() == "yes no no default"
    file.write_text(POLKIT % "polkit.addRule((a) => { const b = `${a}`; return b?.c; });")
    with pytest.raises(AssertionError, match="SyntaxError"):
        duktape.run(file)


def test_synapse_takes_its_settings(texts: Texts, tmp_path: Path) -> None:
    settings = _here(texts["synapse"], tmp_path)
    (tmp_path / "signing.key").write_text("ed25519 a_x " + "A" * 43 + "\n")
    settings["signing_key_path"] = str(tmp_path / "signing.key")
    settings["log_config"] = str(tmp_path / "log.yaml")
    (tmp_path / "log.yaml").write_text("version: 1\n")
    settings["app_service_config_files"] = []
    file = tmp_path / "homeserver.yaml"
    file.write_text(yaml.safe_dump(settings))
    read = HomeServerConfig.load_config("Synapse", ["-c", str(file)])
    assert read.server.server_name == "agency.example.org"
    assert read.registration.enable_registration is False
    file.write_text(yaml.safe_dump(settings | {"max_upload_size": "much"}))
    with pytest.raises(ValueError, match="much"):
        HomeServerConfig.load_config("Synapse", ["-c", str(file)])


def _here(settings: Any, place: Path) -> Any:
    """The settings with every absolute path moved below a directory of the test."""
    if isinstance(settings, dict):
        return {key: _here(value, place) for key, value in settings.items() if value is not None}
    if isinstance(settings, list):
        return [_here(one, place) for one in settings]
    if isinstance(settings, str) and settings.startswith("/"):
        moved = place / settings.lstrip("/")
        moved.parent.mkdir(parents=True, exist_ok=True)
        if not moved.exists() and not settings.endswith(("/", "media_store")):
            moved.write_text("placeholder\n")
        return str(moved)
    return settings


# What no program at hand reads: a new key is to be looked up in upstream's reference first.


def test_the_kubelet_is_told_what_was_looked_up(texts: Texts) -> None:
    assert set(texts["kubelet"]) == {"maxPods", "systemReserved"}
    assert set(texts["kubelet"]["systemReserved"]) == {"cpu", "memory"}
    flags = {one.partition("=")[0] for one in texts["k3s"]}
    assert flags == {
        "--disable",
        "--secrets-encryption",
        "--service-node-port-range",
        "--write-kubeconfig",
        "--write-kubeconfig-group",
        "--write-kubeconfig-mode",
    }


def test_the_runner_is_told_what_was_looked_up(texts: Texts) -> None:
    flags = {one.partition("=")[0] for flags in texts["runners"].values() for one in flags}
    assert flags == {
        *(f"--custom-{stage}-exec" for stage in ("config", "prepare", "run", "cleanup")),
        *(f"--custom-{stage}-args" for stage in ("config", "prepare", "run", "cleanup")),
        "--docker-cap-add",
        "--docker-cap-drop",
        "--docker-memory",
        "--docker-pids-limit",
        "--docker-security-opt",
    }


def test_grafana_is_told_what_was_looked_up(texts: Texts) -> None:
    (source,) = texts["grafana"]["datasources"]["datasources"]
    assert (source["type"], source["access"], source["uid"]) == (
        *("prometheus", "proxy"),
        "prometheus",
    )
    (provider,) = texts["grafana"]["dashboards"]["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"]
    for group in texts["grafana"].values():
        assert group["apiVersion"] == 1
