# Every feature on, for every agent: what the exported units are made from, and what tests build on.
{ config, lib, ... }:
{
  options.agency.agents = lib.mkOption {
    type = lib.types.attrsOf (
      lib.types.submodule (
        { options, ... }:
        {
          config = lib.mapAttrs (_: _: { enable = lib.mkDefault true; }) (
            lib.filterAttrs (_: option: option ? enable) options
          );
        }
      )
    );
  };
  config.agency = {
    services = lib.mapAttrs (
      _: service: service // { enable = true; }
    ) config.agency.instance.facts.services;
    incidents.enable = true;
    sandbox.expiry.enable = true;
  };
}
