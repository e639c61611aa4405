# A machine of which one agent runs in a container.
#
#   instance  directory of a rendered instance
{ instance }:
let
  machine =
    (import ../.. {
      instance = /. + instance;
      extraModules = [
        ./machine.nix
        { agency.control.docker.enable = true; }
      ];
    }).hosts.agency;
  inherit (machine) config;
  inherit (machine.pkgs) lib;
in
{
  failing = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
  control = config.environment.etc."agency/control.json".text;
  proxy = config.environment.etc."agency/proxy.json".text;
  unit = config.systemd.units."agency-control.service".text;
  docker = config.virtualisation.docker.enable;
  members = config.users.groups.docker.members;
}
