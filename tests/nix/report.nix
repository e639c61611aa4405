# Everything the tests want to know, from one evaluation.
#
#   instances  name -> directory of a rendered instance; "full" runs every service
{ instances }:
let
  agencyWith =
    instance: extraModules:
    import ../.. {
      instance = /. + instances.${instance};
      inherit extraModules;
    };
  everything = ../../modules/lib/everything.nix;
  sample = import ./sample.nix;
  full = agencyWith "full" [
    everything
    sample
  ];
  inherit (full.hosts.agency.pkgs) lib;

  failing = config: map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);

  user = one: {
    inherit (one)
      uid
      group
      home
      homeMode
      isNormalUser
      extraGroups
      ;
    hasPassword = lib.any (kind: one.${kind} != null) [
      "password"
      "hashedPassword"
      "hashedPasswordFile"
      "initialPassword"
      "initialHashedPassword"
    ];
  };

  agentsOf = config: lib.mapAttrs (_: agent: { inherit (agent) uid port user; }) config.agency.agents;

  host = config: {
    drvPath = config.system.build.toplevel.drvPath;
    failing = failing config;
    inherit (config) warnings;
    units = lib.mapAttrs (_: unit: unit.command) config.agency.units;
    unitTexts = lib.mapAttrs (_: unit: unit.text) (
      lib.filterAttrs (name: _: lib.hasPrefix "agency-" name) config.systemd.units
    );
    secrets = lib.mapAttrs (_: secret: {
      inherit (secret)
        class
        owner
        mode
        path
        ;
      consumers = lib.unique secret.consumers;
    }) config.agency.secrets;
    users = lib.mapAttrs (_: user) (
      lib.filterAttrs (
        name: _: lib.hasPrefix "agent-" name || lib.hasPrefix "agency-" name
      ) config.users.users
    );
    ports = config.agency.ports;
    agents = agentsOf config;
    # All that systemd and /etc are told, ours or not.
    texts =
      lib.mapAttrsToList (_: unit: unit.text) (
        lib.filterAttrs (_: unit: unit.text or null != null) config.systemd.units
      )
      ++ lib.concatMap (file: lib.optional (file.text != null) file.text) (
        lib.attrValues config.environment.etc
      )
      ++ [ (builtins.toJSON config.services.matrix-synapse.settings) ];
    control = config.environment.etc."agency/control.json".text;
    sites = lib.mapAttrs (_: site: site.host) config.agency.edge.sites;
  };

  cases = import ./assertions.nix { inherit lib; };
  fire =
    case:
    failing
      (agencyWith (case.instance or "full") [
        everything
        sample
        case.module
      ]).hosts.agency.config;
in
{
  agency = host full.hosts.agency.config;
  throwaway = host (agencyWith "full" [ ]).hosts.throwaway.config;
  again =
    (agencyWith "full" [
      everything
      sample
    ]).hosts.agency.config.system.build.toplevel.drvPath;
  checks = lib.mapAttrs (_: check: check.drvPath) (import ../.. { }).checks;
  example = lib.mapAttrs (_: one: one.config.system.build.toplevel.drvPath) (import ../.. { }).hosts;
  other = {
    inherit
      (host
        (agencyWith "other" [
          everything
          sample
        ]).hosts.agency.config
      )
      drvPath
      failing
      control
      sites
      agents
      ;
  };
  assertions = lib.mapAttrs (_: case: {
    inherit (case) file says;
    fired = fire case;
  }) cases;
}
