# A node of its own on the tailnet, in user space: no interface, no privilege, no shared identity.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  feature = import ../lib/agent-feature.nix { inherit lib; };
in
{
  imports = [
    (feature {
      name = "tailnet";
      description = "An identity of its own on the tailnet.";
      options = agent: {
        hostname = mkOption {
          type = types.str;
          default = agent.user;
          defaultText = lib.literalExpression ''"agent-''${name}"'';
          description = "Its name on the tailnet.";
        };
        controlServer = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "https://headscale.example.org";
          description = "Coordination server. Null: the default of the client.";
        };
      };
      units.tailnet = {
        description = "Tailnet node of agent %i";
        command = [
          "workspace"
          "tailnet"
          "%i"
        ];
        network = "loopback";
        serviceConfig = {
          RuntimeDirectory = "agency-tailnet/%i";
          RuntimeDirectoryMode = "0700";
          Restart = "always";
        };
      };
      secrets.tailnet-auth-key = {
        units = [ "tailnet" ];
      };
      settings = agent: { inherit (agent.tailnet) hostname controlServer; };
    })
  ];
}
