# The engine that the agency brings: the queue of the record, and a child process a run.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.agency.ci;
  agency = config.agency;
  credentials = "registry-credentials";
  inherit ((import ../lib { inherit lib; })) naming;
  common = import ../lib/recipes-unit.nix { inherit lib config; };
  runs = import ../lib/recipe-runs.nix { inherit lib config pkgs; };
in
{
  config = lib.mkIf (cfg.enable && cfg.engine == "builtin") {
    agency.units.agency-runner = common // {
      description = "Runner of recipe tests";
      command = [
        "recipes"
        "runner"
        "--config"
        "/etc/agency/recipes.json"
      ];
      network = "open";
      secrets = [ "forge-bot-token" ];
      after = [ "agency-reconcile-traefik.service" ];
      inherit (runs) path relax;
      serviceConfig =
        common.serviceConfig
        // runs.serviceConfig
        // {
          # It asks its runs for their teardown; what a run started dies with the unit.
          KillMode = "mixed";
          TimeoutStopSec = "6min";
        };
    };
    # It says nothing secret, but nobody else shall answer Prometheus.
    agency.heldPorts.runner = {
      user = common.serviceConfig.User;
      uid = naming.serviceUids.recipes;
    };
    agency.secrets.${credentials}.consumers = [ "agency-runner.service" ];
    systemd.services.agency-runner.serviceConfig.LoadCredential =
      lib.optional agency.secrets.${credentials}.present
        agency.secrets.${credentials}.credential;
  };
}
