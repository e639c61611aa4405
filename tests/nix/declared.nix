# A machine whose agents have what their instance says of them.
#
#   instance  directory of a rendered instance
{ instance }:
let
  machineWith =
    modules:
    (import ../.. {
      instance = /. + instance;
      extraModules = [ ./machine.nix ] ++ modules;
    }).hosts.agency;
  machine = machineWith [ ];
  inherit (machine) config;
  inherit (machine.pkgs) lib;
  unit = name: config.systemd.units.${name}.text;
  changed =
    (machineWith [
      {
        agency.agents.pm = {
          limits.memoryMax = "3G";
          browser.enable = false;
          taskLoop.command = [ "my-agent" ];
        };
      }
    ]).config;
  otherwise = changed.agency.agents.pm;
in
{
  failing = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
  inherit (config) warnings;
  settings = lib.mapAttrs (
    name: _: builtins.fromJSON config.environment.etc."agency/agents/${name}.json".text
  ) config.agency.agents;
  slices = lib.mapAttrs (
    _: agent: config.systemd.slices.${agent.slice}.sliceConfig
  ) config.agency.agents;
  reconciler = config.agency.reconcilers.agent-workspaces.input.agents;
  egress = lib.mapAttrs (_: agent: agent.egress) config.agency.agents;
  collect = unit "agency-collect-pm.service";
  collected = builtins.fromJSON config.environment.etc."agency/collect/pm.json".text;
  timer = unit "agency-agent-task-loop@pm.timer";
  consumers = config.agency.secrets.agent-pm-issues-token.consumers;
  units = lib.attrNames config.systemd.units;
  otherwise = {
    inherit (otherwise.limits) memoryMax cpuQuota;
    browser = otherwise.browser.enable;
    inherit (changed) warnings;
  };
}
