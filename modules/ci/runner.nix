# The runner: it takes runs from the record and has the engine carry them out. `builtin`, the
# agency's own engine, is the runner itself: a child process a run.
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
  engineToken = "ci-engine-token";
  isBuiltin = cfg.engine == "builtin";
  inherit ((import ../lib { inherit lib; })) naming;
  common = import ../lib/recipes-unit.nix { inherit lib config; };
  runs = import ../lib/recipe-runs.nix { inherit lib config pkgs; };
in
{
  config = lib.mkIf cfg.enable {
    agency.units.agency-runner =
      common
      // {
        description = "Runner of recipe tests";
        command = [
          "recipes"
          "runner"
          "--config"
          "/etc/agency/recipes.json"
        ];
        network = "open";
        secrets = [ "forge-bot-token" ] ++ lib.optional (!isBuiltin) engineToken;
        after = [ "agency-reconcile-traefik.service" ];
        serviceConfig =
          common.serviceConfig
          // {
            # For the janitor, which removes what dead runs left on the swarm.
            SupplementaryGroups = [ agency.swarm.dockerGroup ];
            Slice = runs.serviceConfig.Slice;
            MemoryMax = "256M";
          }
          // lib.optionalAttrs isBuiltin (
            runs.serviceConfig
            // {
              # It asks its runs for their teardown; what a run started dies with the unit.
              KillMode = "mixed";
              TimeoutStopSec = "6min";
            }
          );
      }
      // (
        if isBuiltin then
          { inherit (runs) path relax; }
        else
          {
            # Skipped, not failed, until somebody could log in to the engine and bring its token.
            unitConfig.ConditionPathExists = lib.toList (common.unitConfig.ConditionPathExists or [ ]) ++ [
              agency.secrets.${engineToken}.path
            ];
          }
      );
    # It says nothing secret, but nobody else shall answer Prometheus.
    agency.heldPorts.runner = {
      user = common.serviceConfig.User;
      uid = naming.serviceUids.recipes;
    };
    agency.secrets.${credentials}.consumers = lib.optional isBuiltin "agency-runner.service";
    systemd.services.agency-runner.serviceConfig.LoadCredential = lib.optional (
      isBuiltin && agency.secrets.${credentials}.present
    ) agency.secrets.${credentials}.credential;
  };
}
