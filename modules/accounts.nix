# Accounts of the operators at the homeserver. With an OpenID provider each is made at the first
# log-in, and the provider keeps the name; without one, a reconciler makes them.
{ config, lib, ... }:
let
  opt = import ./lib/options.nix { inherit lib; };
  agency = config.agency;
  cfg = agency.accounts;
  hosts = agency.instance.facts.names.hosts;
in
{
  imports = [
    ./element.nix
    ./matrix.nix
    ./reconcilers.nix
  ];

  options.agency.accounts.enable =
    opt.bool (agency.matrix.enable && !agency.matrix.oidc.enable && agency.platform == "nixos")
      "The reconciler of operators' accounts. It hands each first password over in a file below `/var/lib/agency/handover` that only root reads."
    // opt.md "whether people log in to Matrix with a password";

  config = lib.mkIf cfg.enable {
    agency.reconcilers.accounts = {
      description = "Accounts of the operators";
      after = [ "matrix-synapse.service" ];
      # Root, for nobody else may read what it hands over.
      user = "root";
      secrets = [ "matrix-registration-shared-secret" ];
      input = {
        homeserverUrl = "http://127.0.0.1:${toString agency.ports.synapse}";
        inherit (agency) domain operators;
        handoverDir = "/var/lib/agency/handover";
        logInAt = "https://${if agency.element.enable then hosts.element else hosts.matrix}";
      };
      serviceConfig = {
        StateDirectory = "agency/handover";
        StateDirectoryMode = "0700";
      };
    };
  };
}
