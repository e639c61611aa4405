"""What the NixOS test driver runs on the machine with every service: it gives `machine`."""

start_all()  # noqa: F821 - the driver's
machine.wait_for_unit("multi-user.target")  # noqa: F821
SERVICES = (
    *("agency-control", "docker", "grafana", "k3s", "matrix-synapse", "nginx"),
    *("postgresql", "prometheus", "prometheus-blackbox-exporter"),
)
for unit in SERVICES:
    machine.wait_for_unit(f"{unit}.service")  # noqa: F821
machine.wait_for_open_port(443)  # noqa: F821
ASK = "curl --silent --insecure --fail --output /dev/null https://{}"
for place in ("element.agency.test/", "matrix.agency.test/_matrix/client/versions"):
    machine.wait_until_succeeds(ASK.format(place), timeout=120)  # noqa: F821
machine.fail(ASK.format("nobody.agency.test"))  # noqa: F821
# GitLab is started beside the boot, makes its database, and then issues what others wait for.
machine.wait_for_unit("gitlab.service", timeout=1800)  # noqa: F821
machine.wait_until_succeeds(ASK.format("gitlab.agency.test/users/sign_in"), timeout=600)  # noqa: F821
machine.wait_until_succeeds(  # noqa: F821
    "systemctl show --value -p Result agency-reconcile-gitlab-bootstrap | grep -q success"
    " && test -s /var/lib/agency/issued/forge-bot-token",
    timeout=900,
)
machine.wait_for_unit("docker-registry.service")  # noqa: F821
# Every target of Prometheus answers.
machine.wait_until_succeeds(  # noqa: F821
    "curl --silent --get http://127.0.0.1:8014/api/v1/query --data-urlencode 'query=up == 0'"
    " | grep -q '\"result\":\\[\\]'",
    timeout=300,
)
machine.succeed('test -z "$(systemctl list-units --failed --no-legend)"')  # noqa: F821
