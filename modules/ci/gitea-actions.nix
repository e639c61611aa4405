# Gitea Actions: the server is the forge, and a runner of it here carries out the builds.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  ci = config.agency.ci;
  agency = config.agency;
  name = "recipes";
  token = "gitea-runner-token";
  environmentFile = "gitea-runner.env";
  common = import ../lib/recipes-unit.nix { inherit lib config; };
  runs = import ../lib/recipe-runs.nix { inherit lib config pkgs; };
in
{
  config = lib.mkIf (ci.enable && ci.engine == "gitea-actions") {
    services.gitea-actions-runner.instances.${name} = {
      enable = true;
      inherit (agency) name;
      url = toString agency.forge.url;
      # Its registration takes the token from its environment, and reads it from no file.
      tokenFile = "/run/secrets/rendered/${environmentFile}";
      # As `agency recipes pipeline gitea-actions` names it.
      labels = [ "agency-recipes:host" ];
      settings.runner.capacity = ci.maxTests;
      hostPackages = [
        agency.package
        pkgs.bash
        pkgs.coreutils
      ]
      ++ runs.path;
    };
    systemd.services."gitea-runner-${name}".serviceConfig = runs.asUnitOfState {
      inherit (common.serviceConfig) User;
      directories = [
        "gitea-runner"
        common.serviceConfig.StateDirectory
      ];
    };
    agency.secretTemplates.${environmentFile} = {
      content = "TOKEN=${agency.placeholders.${token}}\n";
      consumers = [ "gitea-runner-${name}.service" ];
    };
    agency.secrets.${token}.consumers = [ "gitea-runner-${name}.service" ];

    assertions = [
      {
        assertion = agency.forge.kind == "gitea";
        message = ''
          agency.ci: the engine gitea-actions is a part of Gitea, and the forge is ${agency.forge.kind}.
          Set services.ci.engine to builtin in instance.yaml and run `agency render`, or name a Gitea under forge.
        '';
      }
    ];
  };
}
