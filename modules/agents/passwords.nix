# A password manager's client, unlocked for the agent's own collection only.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  feature = import ../lib/agent-feature.nix { inherit lib; };
in
{
  imports = [
    (feature {
      name = "passwords";
      description = "Access to the agent's own collection in a password manager.";
      options = agent: {
        server = mkOption {
          type = types.str;
          default = "https://passwords.${config.agency.domain}";
          defaultText = lib.literalExpression ''"https://passwords.''${config.agency.domain}"'';
          description = "URL of the password manager.";
        };
        collection = mkOption {
          type = types.str;
          default = agent.user;
          defaultText = lib.literalExpression ''"agent-''${name}"'';
          description = "The collection it may read.";
        };
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
