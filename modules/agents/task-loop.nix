# The task loop: a scheduler that collects work, and a loop that does it within limits.
{ config, lib, ... }:
let
  opt = import ../lib/options.nix { inherit lib; };
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
        scheduleAt = opt.str "*-*-* 05:00:00" "When new work is collected, as a systemd calendar event.";
        runAt = opt.str "*:0/15" "When the queue is worked on, as a systemd calendar event.";
        maxTasks = opt.between 1 100 5 "Most tasks in one run.";
        maxWallTime = opt.between 60 86400 3600 "Longest run, in seconds.";
        maxErrors = opt.between 1 100 3 "Failed tasks in a row that end a run.";
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
