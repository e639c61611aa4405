# Element Web, the page where people talk to the agency, served by the edge.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.element;
  facts = config.agency.instance.facts;
in
{
  imports = [ ./edge.nix ];

  options.agency.element = {
    enable = opt.service config.agency.services "element" "Element Web.";
    settings = opt.must (types.attrsOf types.anything) "Element's config.json.";
  };

  config = lib.mkIf cfg.enable {
    agency.element.settings = lib.mapAttrs (_: lib.mkDefault) (
      builtins.fromJSON (
        builtins.readFile (config.agency.instance.directory + "/generated/matrix/element-config.json")
      )
    );
    agency.edge.sites.element = {
      host = facts.names.hosts.element;
      root = pkgs.element-web.override { conf = cfg.settings; };
    };
    assertions = [
      {
        assertion = config.agency.edge.enable;
        message = ''
          agency.element: nothing serves Element while the edge is off.
          Set services.edge.enable in instance.yaml and run `agency render`, or turn Element off.
        '';
      }
    ];
  };
}
