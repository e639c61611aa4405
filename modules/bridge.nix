# The comment bridge: a comment on a merge request starts a run, where the forge or its owner allows.
{
  config,
  lib,
  ...
}:
let
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.bridge;
  agency = config.agency;
  inherit ((import ./lib { inherit lib; })) naming;
  common = import ./lib/recipes-unit.nix { inherit lib config; };
in
{
  imports = [
    ./ci
    ./edge.nix
  ];

  options.agency.bridge = {
    enable = opt.service agency.services "bridge" "The comment bridge.";
    pollSeconds =
      opt.between 5 60 20
        "Seconds between two looks at the forge. It needs no webhook; one makes it faster.";
    allow =
      opt.listOf lib.types.str "Accounts that may start runs although they are no members of the repository's owner."
      // {
        example = [ "ada" ];
      };
    maxAgeHours =
      opt.between 1 720 24
        "Age, by the forge's clock, from which a comment that is first seen starts no run.";
  };

  config = lib.mkIf cfg.enable {
    agency.units.agency-bridge = common // {
      description = "Comment bridge";
      command = [
        "recipes"
        "bridge"
        "--config"
        "/etc/agency/recipes.json"
        "--poll-seconds"
        (toString cfg.pollSeconds)
      ];
      network = "open";
      secrets = [
        "forge-bot-token"
        "webhook-hmac"
      ];
      serviceConfig = common.serviceConfig // {
        MemoryMax = "256M";
      };
    };
    agency.heldPorts.bridge = {
      user = common.serviceConfig.User;
      uid = naming.serviceUids.recipes;
    };
    agency.edge.sites.bridge = {
      host = agency.instance.facts.names.hosts.bridge;
      port = agency.ports.bridge;
      only = [ "/hook" ];
      bodyLimit = "1m";
    };

    assertions = [
      {
        assertion = agency.ci.enable;
        message = ''
          agency.bridge: there is no CI that a comment could start.
          Set services.ci.enable in instance.yaml and run `agency render`, or turn the bridge off.
        '';
      }
    ];
  };
}
