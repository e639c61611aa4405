# A node of its own on the tailnet, in user space: no interface, no privilege, no shared identity.
{ lib, ... }:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  feature = import ../lib/agent-feature.nix { inherit lib; };
in
{
  imports = [
    (feature {
      name = "tailnet";
      description = "An identity of its own on the tailnet.";
      options = agent: {
        hostname = opt.str agent.user "Its name on the tailnet." // opt.code ''"agent-''${name}"'';
        controlServer = opt.nullOr types.str "Coordination server. Null: the default of the client." // {
          example = "https://headscale.example.org";
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
