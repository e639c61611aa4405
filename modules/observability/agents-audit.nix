# The agents' audit logs as numbers: a reader apart from the service that writes them follows each
# from a head that it keeps, and the rules in ./alerts.yml say when a person must look.
{ config, lib, ... }:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  agency = config.agency;
  cfg = agency.audit;
  unit = "agency-audit-watch";
  agents = agency.agents;
  uses = feature: lib.any (agent: agent.${feature}.enable) (lib.attrValues agents);
  # What a task or a repository asks for is not known here.
  free = lib.filter (name: agents.${name}.codingAgent.enable || agents.${name}.taskLoop.enable) (
    lib.attrNames agents
  );
  etc = "agency/audit-watch.json";
in
{
  imports = [ ../agents ];

  options.agency.audit = {
    watch =
      opt.bool (
        cfg.enable && agency.observability.enable
      ) "Read the agents' audit logs every minute, for the alerts about them."
      // opt.md "where there are agents and observability";
    programs =
      opt.listOf types.singleLineStr "Programs that agents usually run, as the kernel names them (15 characters; `*` is any text): others are an alert. Features add theirs; add those of MCP servers. Agents that code or have tasks may run anything."
      // {
        example = [ "node" ];
      };
  };

  config = lib.mkIf cfg.watch {
    environment.etc.${etc}.text = builtins.toJSON {
      usual = lib.unique cfg.programs;
      inherit free;
    };
    agency = {
      audit.programs = [
        "agency"
        "python3*"
        "systemd"
        "(sd-pam)"
        "dbus-*"
      ]
      ++ lib.optionals (uses "workspace") [
        "git*"
        "ssh"
      ]
      ++ lib.optional (uses "browser") "chrom*"
      ++ lib.optional (uses "ssh") "ssh-agent";
      observability.textfiles = true;
      units.${unit} = {
        description = "Watch over the agents' audit logs";
        command = [
          "workspace"
          "audit"
          "watch"
          "--state"
          "/var/lib/${unit}"
          "--metrics"
          "${agency.observability.textfileDirectory}/agency-audit.prom"
          "--config"
          "/etc/${etc}"
        ];
        type = "oneshot";
        # Root made the logs; it needs nothing else of what root may.
        user = "root";
        group = "adm";
        after = [ "agency-audit.service" ];
        # Programs are others' processes; their names are in /proc for everybody.
        relax.ProtectProc = "default";
        timer = {
          OnCalendar = "minutely";
          AccuracySec = "1s";
        };
        serviceConfig = {
          StateDirectory = unit;
          StateDirectoryMode = "0700";
          ReadWritePaths = [ agency.observability.textfileDirectory ];
          MemoryMax = "256M";
          TasksMax = 16;
          Nice = 10;
          # A day's look at whole logs reads a gigabyte an agent.
          TimeoutStartSec = "30min";
        };
      };
    };
  };
}
