# The task loop: a scheduler that collects work, and a loop that does it within limits.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  feature = import ../lib/agent-feature.nix { inherit lib; };
  inherit (import ../lib { inherit lib; }) hardening;
  agents = config.agency.agents;
  collecting = lib.filterAttrs (
    _: agent: agent.taskLoop.enable && agent.taskLoop.issues != null
  ) agents;
  # Nothing would be handed over for them: their lists wait for ever.
  idle = lib.filterAttrs (
    _: agent:
    agent.taskLoop.enable
    && agent.taskLoop.command == [ ]
    && !(agent.program.enable && agent.program.kind == "builtin")
  ) agents;
  # What the collector, who holds the forge's token, writes for the scheduler, which is the agent.
  wishes = "/var/lib/agency-issues/%i/wishes.json";
  # What the control plane hands over when it starts an agent whose program is builtin.
  handed = "/run/agency-control/beside/%i";
  issues = types.submodule {
    options = {
      kind = opt.must (types.enum [
        "gitea"
        "gitlab"
      ]) "What the forge is.";
      url = opt.must types.str "Where it is.";
      projects = opt.must (types.nonEmptyListOf types.str) "Projects whose issues are read, by their paths.";
      label = opt.str "agent:{agent}" "Label of the issues that are for the agent. Who may set it may give it work.";
      tokenFile = opt.must types.str "File with a token that may read issues, and nothing more. The agent never sees it.";
    };
  };
  programs = [
    pkgs.gitMinimal
    pkgs.util-linux
  ];
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
        maxTokens = opt.nullOr types.ints.positive "Most tokens of one run, by what its tasks say they took. Null: no limit.";
        command =
          opt.listOf types.str "What does a task, in the workspace: a program and its arguments. It reads the file that AGENCY_TASK names. Empty: the agent's own builtin program, while the agent runs."
          // {
            example = [ "my-agent" ];
          };
        model = opt.nullOr types.str "The model that a task is told to use.";
        issues = opt.nullOr issues "Open issues of a forge that become tasks.";
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
          serviceConfig = {
            TimeoutStartSec = "10min";
            # None until the collector wrote them.
            LoadCredential = "wishes.json:${wishes}";
            SetCredential = "wishes.json:{}";
          };
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
          path = programs;
          after = [ "agency-agent-gateway@%i.service" ];
          relax = {
            # Compilers and interpreters of the work map executable memory.
            MemoryDenyWriteExecute = false;
            SystemCallFilter = hardening.startsPrograms; # what does a task
          };
          timer = {
            OnCalendar = "*:0/15";
            Persistent = true;
          };
          credentials = {
            "work.json" = "${handed}/work.json";
            gateway-token = "${handed}/gateway-token";
            model-token = "${handed}/model-token";
          };
          serviceConfig = {
            # Of an agent that a command of its own works for there is nothing.
            SetCredential = [
              "work.json:{}"
              "gateway-token:none"
              "model-token:none"
            ];
            # Each run shares the agent's incidents.
            ReadWritePaths = "-/var/lib/agency-incidents";
            TimeoutStartSec = "1d";
          };
        };
      };
      settings = agent: {
        inherit (agent.taskLoop)
          maxTasks
          maxWallTime
          maxErrors
          maxTokens
          command
          model
          ;
      };
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
          # What its own program is to do waits while the agent does not run.
          systemd.services = lib.mapAttrs' (
            name: _:
            lib.nameValuePair "agency-agent-task-loop@${name}" {
              overrideStrategy = "asDropin";
              unitConfig.ConditionPathExists = lib.replaceStrings [ "%i" ] [ name ] "${handed}/work.json";
            }
          ) (lib.filterAttrs (_: agent: agent.taskLoop.command == [ ]) enabled);
        };
    })
  ];

  config.environment.etc = lib.mapAttrs' (
    name: agent:
    lib.nameValuePair "agency/collect/${name}.json" {
      text = builtins.toJSON (removeAttrs agent.taskLoop.issues [ "tokenFile" ]);
    }
  ) collecting;
  # Not in the agent's slice and not its user: it holds a token that the agent must not have.
  config.agency.units = lib.mapAttrs' (
    name: agent:
    lib.nameValuePair "agency-collect-${name}" {
      description = "Collect issues of the forge for agent ${name}";
      command = [
        "workspace"
        "collect"
        name
        "--config"
        "/etc/agency/collect/${name}.json"
        "--output"
        (lib.replaceStrings [ "%i" ] [ name ] wishes)
      ];
      type = "oneshot";
      network = "open";
      credentials.forge-token = agent.taskLoop.issues.tokenFile;
      before = [ "agency-agent-scheduler@${name}.service" ];
      timer = {
        OnCalendar = agent.taskLoop.scheduleAt;
        Persistent = true;
      };
      serviceConfig = {
        StateDirectory = "agency-issues/${name}";
        StateDirectoryMode = "0700";
        TimeoutStartSec = "5min";
      };
    }
  ) collecting;

  # A guest is given programs by its parts, which are installed over this.
  config.warnings = lib.optionals (config.agency.platform == "nixos") (
    map (name: ''
      agency.agents.${name}: nothing does the tasks of its task loop, as it has no program of the kind builtin.
      Set agency.agents.${name}.taskLoop.command, or give it such a program in instance.yaml and run `agency render`.
    '') (lib.attrNames idle)
  );

  config.assertions = map (name: {
    assertion = agents.${name}.taskLoop.enable -> agents.${name}.workspace.enable;
    message = ''
      agency.agents.${name}: a task loop needs a workspace to take tasks from.
      Set agency.agents.${name}.workspace.enable, or turn the task loop off.
    '';
  }) (lib.attrNames agents);
}
