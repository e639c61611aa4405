# Everything that the flake offers, reachable by plain import.
{
  nixpkgs ? <nixpkgs>,
  sops-nix ? <sops-nix>,
  home-manager ? null,
  instance ? ./instance,
  system ? "x86_64-linux",
  # Further modules for every host: tests and hardware configurations use it.
  extraModules ? [ ],
}:
let
  pkgs = import nixpkgs { inherit system; };
  inherit (pkgs) lib;
  features = import ./modules;
  machine = instance + "/host.nix";

  # What the modules build on. A module imported twice counts once.
  base = [
    (sops-nix + "/modules/sops")
  ]
  ++ lib.optional (home-manager != null) (home-manager + "/nixos");

  modules = lib.mapAttrs (_: path: { imports = base ++ [ path ]; }) features // {
    default.imports = base ++ lib.attrValues features;
  };

  evaluate =
    hostModules:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = [
        {
          agency.instance.directory = lib.mkDefault instance;
          # The hosts' own default is the machine that most have.
          nixpkgs.hostPlatform = lib.mkOverride 900 system;
        }
      ]
      ++ hostModules;
    };

  # A guest evaluates its own source, offline: the inputs go with its image. A plain import, from
  # paths, has none that Nix could recognise there.
  sources = {
    system.extraDependencies = map toString (
      lib.filter (input: input ? outPath) [
        nixpkgs
        sops-nix
        home-manager
        instance
      ]
    );
  };

  hosts =
    lib.mapAttrs
      (
        name: host:
        evaluate (
          [
            modules.default
            host
          ]
          # What only this deployment knows of its machine: disks, operators' keys, accepted licences.
          ++ lib.optional (name == "agency" && builtins.pathExists machine) machine
          ++ lib.optional (name != "agency") sources
          ++ extraModules
        )
      )
      {
        agency = ./hosts/agency;
        throwaway = ./hosts/throwaway/vm.nix;
        throwaway-container = ./hosts/throwaway/container.nix;
      };

  portable = import ./modules/lib/portable.nix {
    inherit lib evaluate modules;
  };

  agency = pkgs.callPackage ./packages/agency { };
  app = program: description: {
    type = "app";
    program = "${agency}/bin/${program}";
    meta = { inherit description; };
  };
in
{
  inherit modules hosts;
  lib = import ./modules/lib { inherit lib; };
  portableUnits = portable;

  packages = {
    inherit agency;
    default = agency;
    # The images of guests, as agency.guests.images.nixos takes them.
    throwaway = hosts.throwaway.config.system.build.qemuImage;
    throwaway-container = hosts.throwaway-container.config.system.build.tarball;
  };
  apps = rec {
    agency = app "agency" "The agency's command line";
    spinup_smoke = app "spinup_smoke" "Spin an agency up and prove it";
    default = agency;
  };
  devShells.default = pkgs.mkShell {
    packages = [
      pkgs.age
      pkgs.deadnix
      pkgs.nixfmt
      pkgs.python3
      pkgs.sops
      pkgs.ssh-to-age
      pkgs.uv
    ];
  };
  formatter = pkgs.nixfmt-tree;
  checks = import ./tests/nix/vm {
    inherit pkgs lib modules;
  };
}
