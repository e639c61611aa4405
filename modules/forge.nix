# Where merge requests come from: the instance's own GitLab, or a forge elsewhere.
{ config, lib, ... }:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  agency = config.agency;
  own = agency.services.gitlab.enable or false;
in
{
  imports = [ ./base.nix ];

  options.agency.forge = {
    kind =
      opt.oneOf [
        "gitea"
        "gitlab"
      ] (if own then "gitlab" else "gitea") "What the forge is."
      // opt.md "gitlab where the instance runs it, else gitea";
    url =
      opt.is (types.nullOr (types.strMatching "https://[a-z0-9.-]+(:[0-9]+)?")) (
        if own then "https://${agency.instance.facts.names.hosts.gitlab}" else null
      ) "Where it is, without a path."
      // opt.md "the instance's GitLab"
      // {
        example = "https://git.example.org";
      };
  };
}
