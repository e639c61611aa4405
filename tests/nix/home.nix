# Homes of agents as the real home-manager makes them, on the machine of the tests.
#
#   instance  directory of a rendered instance
{ instance }:
let
  machine =
    (import ../.. {
      instance = /. + instance;
      home-manager = <home-manager>;
      extraModules = [
        ../../modules/lib/everything.nix
        ./sample.nix
        (
          { pkgs, ... }:
          {
            agency.agents.pm = {
              sharedTerminal = true;
              homeModules = [ { home.packages = [ pkgs.hello ]; } ];
            };
            # A person of the machine has the same terminal.
            users.users.alice.isNormalUser = true;
            home-manager.users.alice = {
              imports = [ (import ../.. { }).homeModules.terminal ];
              home.stateVersion = "26.05";
            };
          }
        )
      ];
    }).hosts.agency;
  inherit (machine) config;
  inherit (machine.pkgs) lib;
  home = user: config.home-manager.users.${user};
  facts = user: {
    files = lib.attrNames (home user).home.file;
    git = (home user).programs.git.settings;
    packages = map lib.getName (home user).home.packages;
    directory = (home user).home.homeDirectory;
    failing = map (one: one.message) (lib.filter (one: !one.assertion) (home user).assertions);
    inherit (home user) warnings;
    activation = (home user).home.activationPackage.outPath;
    # What is linked to /etc/profiles/per-user.
    profile = map lib.getName config.users.users.${user}.packages;
  };
  unit = name: config.systemd.units.${name}.text;
in
{
  failing = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
  inherit (config) warnings;
  toplevel = config.system.build.toplevel.drvPath;
  agent = facts "agent-pm";
  person = facts "alice";
  units = {
    activation = unit "home-manager-agent\\x2dpm.service";
    person = unit "home-manager-alice.service";
    agent = unit "agency-agent@pm.service";
    loop = unit "agency-agent-task-loop@pm.service";
    other = unit "agency-agent@dev-two.service";
  };
  homes = lib.attrNames config.home-manager.users;
}
