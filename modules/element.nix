# Element Web, the page where people talk to the agency, served by the edge.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.agency.element;
  facts = config.agency.instance.facts;
in
{
  imports = [ ./edge.nix ];

  options.agency.element = {
    enable = mkOption {
      type = types.bool;
      default = config.agency.services.element.enable or false;
      defaultText = lib.literalMD "services.element.enable of the instance";
      description = "Element Web.";
    };
    settings = mkOption {
      type = types.attrsOf types.anything;
      description = "Element's config.json.";
    };
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
