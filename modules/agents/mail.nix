# A mail account of its own: the client's configuration; the password stays a credential.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  feature = import ../lib/agent-feature.nix { inherit lib; };
  domain = config.agency.domain;
in
{
  imports = [
    (feature {
      name = "mail";
      description = "A mail account and a client that is set up for it.";
      options = agent: {
        address = mkOption {
          type = types.str;
          default = "${agent.user}@${domain}";
          defaultText = lib.literalExpression ''"agent-''${name}@''${config.agency.domain}"'';
          description = "Its address.";
        };
        server = mkOption {
          type = types.str;
          default = "mail.${domain}";
          defaultText = lib.literalExpression ''"mail.''${config.agency.domain}"'';
          description = "Server for reading and sending.";
        };
        allowedSenders = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Addresses whose mail may become a task. Nobody's, unless listed.";
        };
      };
      units.mail = {
        description = "Mail of agent %i";
        command = [
          "workspace"
          "mail"
          "serve"
          "%i"
        ];
        network = "loopback";
        serviceConfig = {
          RuntimeDirectory = "agency-mail/%i";
          RuntimeDirectoryMode = "0700";
        };
      };
      secrets.mail-password = {
        units = [ "mail" ];
      };
      settings = agent: { inherit (agent.mail) address server allowedSenders; };
    })
  ];
}
