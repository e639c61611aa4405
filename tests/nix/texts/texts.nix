# Texts that Nix writes for programs of others, as plain values: no derivation is built.
#
#   instance  directory of a rendered instance that runs every service
{ instance }:
let
  machine =
    (import ../../.. {
      instance = /. + instance;
      extraModules = [
        ../../../modules/lib/everything.nix
        ../sample.nix
        {
          # The same texts at a place from where they can be read unbuilt.
          services.nginx.enableReload = true;
          services.prometheus.enableReload = true;
          services.prometheus.checkConfig = false;
          agency.audit.forward = {
            enable = true;
            url = "https://loki.example.org/loki/api/v1/push";
            username = "agency";
            passwordFile = "/root/loki-password";
          };
        }
      ];
    }).hosts.agency;
  inherit (machine.pkgs) lib;
  inherit (machine) config;
  inherit (config) services;
  etc = name: config.environment.etc.${name};
in
{
  nginx = (etc "nginx/nginx.conf").source.text;
  prometheus = (etc "prometheus/prometheus.yaml").source.value;
  rules = services.prometheus.rules;
  ruleFiles = map baseNameOf services.prometheus.ruleFiles;
  blackbox = services.prometheus.exporters.blackbox.configFile.text;
  processes = services.prometheus.exporters.process.settings;
  docker = config.virtualisation.docker.daemon.settings;
  grafana = {
    datasources = services.grafana.provision.datasources.settings;
    dashboards = services.grafana.provision.dashboards.settings;
  };
  alloy = {
    text = (etc "alloy/config.alloy").text;
    inherit (config.systemd.services.alloy) serviceConfig;
    flags = services.alloy.extraFlags;
  };
  codingAgent = lib.mapAttrs (
    _: kinds:
    lib.mapAttrs (_: one: {
      inherit (one) user group mode;
      # What it leads to, and the derivations that make that.
      to = builtins.unsafeDiscardStringContext one.argument;
      from = lib.attrNames (builtins.getContext one.argument);
    }) kinds
  ) config.systemd.tmpfiles.settings.agency-coding-agent;
  kubelet = services.k3s.extraKubeletConfig;
  k3s = services.k3s.extraFlags ++ map (one: "--disable=${one}") services.k3s.disable;
  runners = lib.mapAttrs (_: one: one.registrationFlags) services.gitlab-runner.services;
  polkit = lib.mapAttrs (_: file: file.text) (
    lib.filterAttrs (
      name: file: lib.hasPrefix "polkit-1/rules.d/" name && file.text != null
    ) config.environment.etc
  );
  sysctl = (etc "sysctl.d/60-nixos.conf").text;
  sudo = config.security.sudo.configFile;
  synapse = services.matrix-synapse.settings;
  registry = services.dockerRegistry.configFile.text;
  sshd = { inherit (services.openssh) settings extraConfig; };
}
