# The agents' audit log: written by a root service that takes events over a socket, knows the
# sender from the kernel, and keeps each file append-only.
{ config, lib, ... }:
let
  opt = import ../lib/options.nix { inherit lib; };
  cfg = config.agency.audit;
  hasAgents = config.agency.agents != { };
in
{
  options.agency.audit = {
    enable = opt.bool hasAgents "The agents' audit log." // opt.md "whether there are agents";
    retentionDays =
      opt.between 1 3650 90
        "Days after which a closed log file is removed. The removal is on record.";
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      agency.units.agency-audit = {
        description = "Audit log of the agents";
        command = [
          "workspace"
          "audit"
          "serve"
          "--retention-days"
          (toString cfg.retentionDays)
        ];
        user = "root";
        # Readers of the system's logs may read this one. New files inherit the group.
        group = "adm";
        network = "none";
        socket = {
          ListenStream = "/run/agency-audit.sock";
          SocketUser = "root";
          SocketGroup = (import ../lib { inherit lib; }).naming.agents.group;
          SocketMode = "0660";
        };
        # Sets and clears the append-only flag. Nothing else of root's is needed: it made the files.
        relax.CapabilityBoundingSet = "CAP_LINUX_IMMUTABLE";
        serviceConfig = {
          LogsDirectory = "agency-agents";
          LogsDirectoryMode = "0750";
          MemoryMax = "128M";
          TasksMax = 16;
        };
      };
    })
    {
      assertions = [
        {
          assertion = hasAgents -> cfg.enable;
          message = ''
            agency.audit: there are agents, and what they do must be on record.
            Remove agency.audit.enable = false.
          '';
        }
      ];
    }
  ];
}
