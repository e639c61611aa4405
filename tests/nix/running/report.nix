# The facts of each host whose units the tests walk, from one evaluation.
#
#   instances  name -> directory of a rendered instance
{ instances }:
let
  host =
    instance: extra:
    (import ../../.. {
      instance = /. + instance;
      extraModules = [
        ../../../modules/lib/everything.nix
        ../sample.nix
      ]
      ++ extra;
    }).hosts.agency;
  full = host instances.builtin [ ];
  inherit (full.pkgs) lib;
  facts = one: import ./facts.nix { inherit lib; inherit (one) config; };
  shared.nixpkgs.pkgs = full.pkgs;
in
{
  builtin = facts full;
  woodpecker = facts (host instances.woodpecker [ shared ]);
  drone = facts (host instances.drone [ { agency.ci.drone.acceptLicence = true; } ]);
}
