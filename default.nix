# Everything that the flake offers, reachable by plain import.
{
  nixpkgs ? <nixpkgs>,
  sops-nix ? <sops-nix>,
  home-manager ? null,
  # Partitions the disk of a machine that has agency.disk.device.
  disko ? null,
  instance ? ./instance,
  system ? "x86_64-linux",
  # This tree in the store, for guests; null: programs run from a checkout.
  source ? null,
  # Further modules for every host: tests and hardware configurations use it.
  extraModules ? [ ],
}:
let
  pkgs = import nixpkgs { inherit system; };
  inherit (pkgs) lib;
  features = import ./modules;
  hostFile = instance + "/host.nix";

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
        disko
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
          ++ lib.optional (name == "agency" && disko != null) (disko + "/module.nix")
          # What only this deployment knows of its machine: disks, operators' keys, accepted licences.
          ++ lib.optional (name == "agency" && builtins.pathExists hostFile) hostFile
          ++ lib.optional (name != "agency") sources
          ++ extraModules
        )
      )
      {
        agency = ./hosts/agency;
        throwaway = ./hosts/throwaway/vm.nix;
        throwaway-container = ./hosts/throwaway/container.nix;
      };

  # Nobody has a machine for the example, which has a domain that does not exist.
  facts = lib.importJSON (instance + "/generated/instance.json");
  isExample = lib.hasSuffix ".example" facts.domain;
  # The host of an instance, for the flake that `agency init` writes into it.
  machine =
    instance:
    (import ./. {
      inherit
        nixpkgs
        sops-nix
        home-manager
        disko
        instance
        source
        system
        ;
    }).hosts.agency;

  portable = import ./modules/lib/portable.nix {
    inherit lib evaluate modules;
  };

  agency = pkgs.callPackage ./packages/agency { };
  # With the needs of spin-ups: a homeserver, and the checkout that guests are made from.
  forSpinUps = agency.override {
    withSynapse = true;
    inherit source;
  };
  app = package: program: description: {
    type = "app";
    program = "${package}/bin/${program}";
    meta = { inherit description; };
  };
in
{
  inherit modules hosts;
  # For home-manager: agents have them by agency.agents.<name>.sharedTerminal, people import them.
  homeModules.terminal = ./modules/home/terminal.nix;
  offered = if isExample then removeAttrs hosts [ "agency" ] else hosts;
  lib = import ./modules/lib { inherit lib; } // {
    inherit machine;
  };
  portableUnits = portable;

  packages = {
    inherit agency;
    default = agency;
    # The images of guests, as agency.guests.images.nixos takes them.
    throwaway = hosts.throwaway.config.system.build.qemuImage;
    throwaway-container = hosts.throwaway-container.config.system.build.tarball;
  };
  apps = rec {
    agency = app agency "agency" "The agency's command line";
    spinup_smoke = app forSpinUps "spinup_smoke" "Spin an agency up and prove it";
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
