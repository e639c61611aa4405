# Where merge requests come from: the instance's own GitLab, or a forge elsewhere.
{ config, lib, ... }:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  agency = config.agency;
  own = agency.services.gitlab.enable or false;
  # Null in an instance that names none.
  elsewhere =
    if agency.instance.facts.forge or null == null then { } else agency.instance.facts.forge;
in
{
  imports = [ ./base.nix ];

  options.agency.forge = {
    kind =
      opt.oneOf [
        "gitea"
        "gitlab"
      ] (if own then "gitlab" else elsewhere.kind or "gitea") "What the forge is."
      // opt.md "gitlab where the instance runs it, else forge.kind of the instance, else gitea";
    url =
      opt.is (types.nullOr (types.strMatching "https://[a-z0-9.-]+(:[0-9]+)?")) (
        if own then "https://${agency.instance.facts.names.hosts.gitlab}" else elsewhere.url or null
      ) "Where it is, without a path."
      // opt.md "the instance's GitLab, else forge.url of the instance"
      // {
        example = "https://git.example.org";
      };
  };
}
