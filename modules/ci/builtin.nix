# The engine that the agency brings: its own queue, and runs in scopes of their own.
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
  common = import ../lib/recipes-unit.nix { inherit lib config; };
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
      path = [
        agency.traefik.abra
        config.virtualisation.docker.package
        pkgs.git
      ];
      serviceConfig = common.serviceConfig // {
        SupplementaryGroups = [ agency.swarm.dockerGroup ];
        MemoryMax = cfg.memoryMax;
      };
    };
    agency.secrets.${credentials}.consumers = [ "agency-runner.service" ];
    systemd.services.agency-runner.serviceConfig.LoadCredential =
      lib.optional agency.secrets.${credentials}.present
        agency.secrets.${credentials}.credential;
  };
}
