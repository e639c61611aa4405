# A password manager's client, unlocked for the agent's own collection only.
{ config, lib, ... }:
let
  opt = import ../lib/options.nix { inherit lib; };
  feature = import ../lib/agent-feature.nix { inherit lib; };
in
{
  imports = [
    (feature {
      name = "passwords";
      description = "Access to the agent's own collection in a password manager.";
      options = agent: {
        server =
          opt.str "https://passwords.${config.agency.domain}" "URL of the password manager."
          // opt.code ''"https://passwords.''${config.agency.domain}"'';
        collection = opt.str agent.user "The collection it may read." // opt.code ''"agent-''${name}"'';
      };
      units.passwords = {
        description = "Password store of agent %i";
        command = [
          "workspace"
          "passwords"
          "serve"
          "%i"
        ];
        network = "loopback";
        serviceConfig = {
          RuntimeDirectory = "agency-passwords/%i";
          RuntimeDirectoryMode = "0700";
        };
      };
      secrets.passwords-client-secret = {
        units = [ "passwords" ];
      };
      settings = agent: { inherit (agent.passwords) server collection; };
    })
  ];
}
