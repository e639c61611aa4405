# The agent's working directory: a repository with its tasks, projects, schedules and identity.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  feature = import ../lib/agent-feature.nix { inherit lib; };
  operators = config.agency.operators;
in
{
  imports = [
    (feature {
      name = "workspace";
      description = "A workspace: a repository at ~/agent-space that is made once and never overwritten.";
      options = agent: {
        remote = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = "Remote of the repository. With one, the workspace is cloned; without, scaffolded.";
        };
        fullName = mkOption {
          type = types.str;
          default = agent.role;
          defaultText = lib.literalExpression "role";
          description = "The name it signs with.";
        };
      };
      units.workspace = {
        description = "Workspace of agent %i";
        command = [
          "workspace"
          "scaffold"
          "%i"
        ];
        type = "oneshot";
        network = "loopback";
      };
      settings = agent: {
        inherit (agent.workspace) remote fullName;
        inherit operators;
      };
    })
  ];
}
