# The agent's working directory: a repository with its tasks, projects, schedules and identity.
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
  inherit (config.agency) domain operators;
in
{
  imports = [
    ../reconcilers.nix
    (feature {
      name = "workspace";
      description = "A workspace: a repository at ~/agent-space that is made once and never overwritten.";
      options = agent: {
        remote = opt.nullOr types.str "Remote of the repository. With one, the workspace is cloned; without, scaffolded.";
        fullName = opt.str agent.role "The name it signs with." // opt.code "role";
        email =
          opt.str "${agent.user}@${domain}" "The address it signs with."
          // opt.code ''"agent-''${name}@''${config.agency.domain}"'';
      };
      settings = agent: {
        inherit (agent.workspace) remote fullName email;
        inherit (agent) matrixId;
        inherit domain operators;
      };
      units.workspace = {
        description = "Remote of the workspace of agent %i";
        command = [
          "workspace"
          "clone"
          "%i"
        ];
        type = "oneshot";
        network = "open";
        path = [
          pkgs.gitMinimal
          pkgs.openssh
          pkgs.util-linux
        ];
        after = [ "agency-reconcile-agent-workspaces.service" ];
        # A remote may be away for long; a push later makes the same workspace.
        unitConfig.StartLimitIntervalSec = 0;
        serviceConfig = {
          Restart = "on-failure";
          RestartSec = "1min";
          RestartPreventExitStatus = "1 2 4";
          TimeoutStartSec = "15min";
        };
      };
      # Homes belong to agents, who may put anything there: the reconciler trusts nothing in them.
      extra =
        { config, enabled }:
        {
          agency.reconcilers.agent-workspaces = {
            description = "Workspaces of the agents";
            user = "root";
            network = "none";
            path = [
              pkgs.gitMinimal
              pkgs.util-linux
            ];
            input = {
              inherit (config.agency) domain operators;
              agents = lib.mapAttrsToList (
                name: agent:
                {
                  inherit name;
                  inherit (agent) role uid matrixId;
                  inherit (agent.workspace) fullName email;
                  gid = config.users.groups.agents.gid;
                  inherit (agent) home;
                }
                // lib.optionalAttrs (agent.workspace.remote != null) { inherit (agent.workspace) remote; }
              ) enabled;
            };
            relax = {
              CapabilityBoundingSet = [
                "CAP_CHOWN"
                "CAP_DAC_OVERRIDE"
                "CAP_FOWNER"
                "CAP_SETGID"
                "CAP_SETUID"
              ];
              # It gives what it makes to the agent, and runs git as the agent.
              SystemCallFilter = [
                "@system-service"
                "~@privileged @resources"
                "@chown @setuid"
              ];
              ProtectHome = false;
            };
            serviceConfig.ReadWritePaths = [ "/home" ];
          };
        };
    })
  ];
}
