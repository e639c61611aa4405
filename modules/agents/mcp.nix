# The tools of an agent: which MCP servers it may start. Each is a program that speaks over pipes.
{ lib, ... }:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  feature = import ../lib/agent-feature.nix { inherit lib; };

  server = types.submodule {
    options = {
      command = opt.must types.str "Program that is the server.";
      args = opt.listOf types.str "Its arguments.";
      credentials = opt.listOf types.str "Names of the agent's credentials that it may read. Values are never written here.";
    };
  };
in
{
  imports = [
    (feature {
      name = "mcp";
      description = "Tool servers for the agent.";
      options = {
        servers = opt.attrsOf server "The servers, by name. The gateway starts them; the agent's programs know the gateway alone.";
        gatewayPort = opt.nullOr types.port "Loopback port on which the agent's gateway serves it.";
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
      settings = agent: {
        inherit (agent.mcp) servers;
        gateway =
          if agent.mcp.gatewayPort == null then
            null
          else
            "http://127.0.0.1:${toString agent.mcp.gatewayPort}/mcp";
      };
    })
  ];
}
