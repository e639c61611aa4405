# Where merge requests come from: the instance's own GitLab, or a forge elsewhere.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  agency = config.agency;
  own = agency.services.gitlab.enable or false;
in
{
  imports = [ ./base.nix ];

  options.agency.forge = {
    kind = mkOption {
      type = types.enum [
        "gitea"
        "gitlab"
      ];
      default = if own then "gitlab" else "gitea";
      defaultText = lib.literalMD "gitlab where the instance runs it, else gitea";
      description = "What the forge is.";
    };
    url = mkOption {
      type = types.nullOr (types.strMatching "https://[a-z0-9.-]+(:[0-9]+)?");
      default = if own then "https://${agency.instance.facts.names.hosts.gitlab}" else null;
      defaultText = lib.literalMD "the instance's GitLab";
      example = "https://git.example.org";
      description = "Where it is, without a path.";
    };
  };
}
