# Alerts: Prometheus with its exporters, and Alertmanager, which tells the control plane.
#
# Rules, targets and receivers are those of a host. What differs: Debian's programs, shorter waits,
# since a guest lives for minutes, and no Grafana, which Debian does not have. The watch over the
# agents' audit logs runs as on a host: without its numbers every agent would look silent.
_:
let
  # Those that NixOS gives no fixed one.
  numbers = {
    node-exporter = 261;
    process-exporter = 262;
  };
in
{
  units = [
    "agency-audit-watch.timer"
    "alertmanager.service"
    "prometheus.service"
    "prometheus-blackbox-exporter.service"
    "prometheus-node-exporter.service"
    "prometheus-process-exporter.service"
  ];
  users = [
    "alertmanager"
    "blackbox-exporter"
    "node-exporter"
    "process-exporter"
    "prometheus"
  ];
  module =
    {
      config,
      lib,
      pkgs,
      ...
    }:
    {
      agency = {
        services.observability.enable = true;
        observability.grafana = false;
        alerts.groupWait = "1s";
        # The example's instance has none, and the run's has one.
        secrets.alertmanager-token = {
          class = "A2";
          generator = "token";
        };
      };
      services.prometheus = {
        # All three would be built.
        checkConfig = false;
        exporters.blackbox.enableConfigCheck = false;
        globalConfig = lib.mkForce {
          scrape_interval = "2s";
          evaluation_interval = "2s";
        };
        alertmanager.checkConfig = false;
      };
      # NixOS fills in variables by a program that Debian does not have. There are none.
      systemd.services.alertmanager.preStart =
        let
          inherit (config.services.prometheus.alertmanager) configuration;
          file = pkgs.writeText "alertmanager.yml" (builtins.toJSON configuration);
        in
        lib.mkForce "cp --no-preserve=mode ${file} /tmp/alert-manager-substituted.yaml\n";
      users.users = lib.mapAttrs (_: uid: { inherit uid; }) numbers;
      users.groups = lib.mapAttrs (_: gid: { inherit gid; }) numbers;
    };
  adapted = [ ];
  machine = { };
  instance = { };
}
