# The tools of an agent: which MCP servers it may start. Each is a program that speaks over pipes.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  feature = import ../lib/agent-feature.nix { inherit lib; };

  server = types.submodule {
    options = {
      command = mkOption {
        type = types.str;
        description = "Program that is the server.";
      };
      args = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Its arguments.";
      };
      credentials = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Names of the agent's credentials that it may read. Values are never written here.";
      };
    };
  };
in
{
  imports = [
    (feature {
      name = "mcp";
      description = "Tool servers for the agent.";
      options = {
        servers = mkOption {
          type = types.attrsOf server;
          default = { };
          description = "The servers, by name.";
        };
      };
      units.mcp = {
        description = "Tool configuration of agent %i";
        command = [
          "workspace"
          "mcp"
          "configure"
          "%i"
        ];
        type = "oneshot";
        network = "none";
        after = [ "agency-reconcile-agent-workspaces.service" ];
      };
      settings = agent: { inherit (agent.mcp) servers; };
    })
  ];
}
