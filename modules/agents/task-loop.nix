# The task loop: a scheduler that collects work, and a loop that does it within limits.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  feature = import ../lib/agent-feature.nix { inherit lib; };
  agents = config.agency.agents;
  calendars = {
    scheduler = agent: agent.taskLoop.scheduleAt;
    task-loop = agent: agent.taskLoop.runAt;
  };
in
{
  imports = [
    (feature {
      name = "taskLoop";
      description = "Work through tasks on a timer.";
      options = {
        scheduleAt = mkOption {
          type = types.str;
          default = "*-*-* 05:00:00";
          description = "When new work is collected, as a systemd calendar event.";
        };
        runAt = mkOption {
          type = types.str;
          default = "*:0/15";
          description = "When the queue is worked on, as a systemd calendar event.";
        };
        maxTasks = mkOption {
          type = types.ints.between 1 100;
          default = 5;
          description = "Most tasks in one run.";
        };
        maxWallTime = mkOption {
          type = types.ints.between 60 86400;
          default = 3600;
          description = "Longest run, in seconds.";
        };
        maxErrors = mkOption {
          type = types.ints.between 1 100;
          default = 3;
          description = "Failed tasks in a row that end a run.";
        };
      };
      units = {
        scheduler = {
          description = "Collect work for agent %i";
          command = [
            "workspace"
            "schedule"
            "%i"
          ];
          type = "oneshot";
          network = "loopback";
          timer = {
            OnCalendar = "*-*-* 05:00:00";
            Persistent = true;
          };
          serviceConfig.TimeoutStartSec = "10min";
        };
        task-loop = {
          description = "Work through the tasks of agent %i";
          command = [
            "workspace"
            "task-loop"
            "%i"
          ];
          type = "oneshot";
          network = "loopback";
          timer = {
            OnCalendar = "*:0/15";
            Persistent = true;
          };
          serviceConfig.TimeoutStartSec = "1d";
        };
      };
      settings = agent: { inherit (agent.taskLoop) maxTasks maxWallTime maxErrors; };
      extra =
        { enabled, ... }:
        {
          systemd.timers = lib.concatMapAttrs (
            name: agent:
            lib.mapAttrs' (
              unit: calendar:
              lib.nameValuePair "agency-agent-${unit}@${name}" {
                overrideStrategy = "asDropin";
                timerConfig.OnCalendar = [
                  ""
                  (calendar agent)
                ];
              }
            ) calendars
          ) enabled;
        };
    })
  ];

  config.assertions = map (name: {
    assertion = agents.${name}.taskLoop.enable -> agents.${name}.workspace.enable;
    message = ''
      agency.agents.${name}: a task loop needs a workspace to take tasks from.
      Set agency.agents.${name}.workspace.enable, or turn the task loop off.
    '';
  }) (lib.attrNames agents);
}
