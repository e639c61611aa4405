# A mail account of its own: the client's configuration; the password stays a credential.
{ config, lib, ... }:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  feature = import ../lib/agent-feature.nix { inherit lib; };
  domain = config.agency.domain;
in
{
  imports = [
    (feature {
      name = "mail";
      description = "A mail account and a client that is set up for it.";
      options = agent: {
        address =
          opt.str "${agent.user}@${domain}" "Its address."
          // opt.code ''"agent-''${name}@''${config.agency.domain}"'';
        server =
          opt.str "mail.${domain}" "Server for reading and sending."
          // opt.code ''"mail.''${config.agency.domain}"'';
        allowedSenders = opt.listOf types.str "Addresses whose mail may become a task. Nobody's, unless listed.";
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
