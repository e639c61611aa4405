# The dashboard: recipes, their runs and levels, logs, badges. It only reads.
{
  config,
  lib,
  ...
}:
let
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.dashboard;
  agency = config.agency;
  inherit ((import ./lib { inherit lib; })) naming;
  common = import ./lib/recipes-unit.nix {
    inherit lib config;
    waits = false;
  };
in
{
  imports = [
    ./ci
    ./edge.nix
  ];

  options.agency.dashboard = {
    enable = opt.service agency.services "dashboard" "The dashboard of recipe CI.";
    retentionDays = opt.between 1 3650 180 "Days after a run's end for which its logs and files are shown; then the runner removes them.";
  };

  config = lib.mkIf cfg.enable {
    agency.units.agency-dashboard = common // {
      description = "Dashboard of recipe CI";
      command = [
        "recipes"
        "dashboard"
        "--config"
        "/etc/agency/recipes.json"
        "--retention-days"
        (toString cfg.retentionDays)
      ];
      network = "loopback";
      serviceConfig = common.serviceConfig // {
        MemoryMax = "256M";
      };
    };
    agency.heldPorts.dashboard = {
      user = common.serviceConfig.User;
      uid = naming.serviceUids.recipes;
    };
    agency.edge.sites.dashboard = {
      host = agency.instance.facts.names.hosts.dashboard;
      port = agency.ports.dashboard;
    };

    assertions = [
      {
        assertion = agency.ci.enable;
        message = ''
          agency.dashboard: there is no CI whose runs it could show.
          Set services.ci.enable in instance.yaml and run `agency render`, or turn the dashboard off.
        '';
      }
    ];
  };
}
