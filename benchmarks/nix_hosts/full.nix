# The full host of `instance`, with every feature on for every agent.
{ instance }:
let
  agency = import ../.. {
    instance = /. + instance;
    extraModules = [
      ../../modules/lib/everything.nix
      ../../tests/nix/sample.nix
    ];
  };
in
agency.hosts.agency.config.system.build.toplevel.drvPath
