# Every feature on, for every agent: what the exported units are made from, and what tests build on.
{ config, lib, ... }:
let
  hasModels = config.agency.ports ? models;
in
{
  options.agency.agents = lib.mkOption {
    type = lib.types.attrsOf (
      lib.types.submodule (
        { options, ... }:
        {
          config =
            lib.mapAttrs (_: _: { enable = lib.mkDefault true; }) (
              removeAttrs (lib.filterAttrs (_: option: option ? enable) options) [ "program" ]
            )
            # It takes models, which take an instance.
            // {
              program.enable = lib.mkDefault hasModels;
            };
        }
      )
    );
  };
  config.agency = {
    # The services of a full machine have no place in a guest without Nix, which runs Matrix alone.
    services = lib.mapAttrs (
      name: service:
      service
      // lib.optionalAttrs (name == "matrix" || config.agency.platform == "nixos") { enable = true; }
    ) config.agency.instance.facts.services;
    preview = lib.attrNames (import ./. { inherit lib; }).preview.unwritten;
    # In a guest it is a part: it needs models.
    models.enable = lib.mkDefault (config.agency.platform == "nixos" && hasModels);
    incidents.enable = true;
    sandbox.expiry.enable = true;
    backup = {
      enable = true;
      repository = lib.mkDefault "/var/backup/agency/repository";
    };
  };
}
