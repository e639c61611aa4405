# Everything that the flake offers, reachable by plain import.
{
  nixpkgs ? <nixpkgs>,
  sops-nix ? <sops-nix>,
  instance ? ./instance,
  system ? "x86_64-linux",
  # Further modules for every host: tests and private instances use it.
  extraModules ? [ ],
}:
let
  pkgs = import nixpkgs { inherit system; };
  inherit (pkgs) lib;
  sops = sops-nix + "/modules/sops";
  features = import ./modules;

  # A feature by itself brings what it needs; `default` is all of them.
  modules =
    lib.mapAttrs (_: path: {
      imports = [
        sops
        path
      ];
    }) features
    // {
      default.imports = [ sops ] ++ lib.attrValues features;
    };

  host =
    name:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = [
        modules.default
        (./hosts + "/${name}")
        { agency.instance.directory = instance; }
      ]
      ++ extraModules;
    };

  hosts = lib.genAttrs [ "agency" "throwaway" ] host;
in
{
  inherit modules hosts;
  packages = {
    agency = pkgs.callPackage ./packages/agency { };
  };
}
