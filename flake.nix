{
  description = "A software agency on one NixOS machine, steered from a Matrix room and proven by a signed transcript";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    sops-nix = {
      url = "github:Mic92/sops-nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    home-manager = {
      url = "github:nix-community/home-manager";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    disko = {
      url = "github:nix-community/disko";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    # The example, for checks and throwaway machines. A real instance is a flake that takes this one.
    instance = {
      url = "path:./instance";
      flake = false;
    };
  };

  # A thin shell: everything is in default.nix, where a plain import reaches it.
  outputs =
    {
      self,
      nixpkgs,
      sops-nix,
      home-manager,
      disko,
      instance,
      ...
    }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      agencyFor =
        system:
        import ./. {
          inherit
            nixpkgs
            sops-nix
            home-manager
            disko
            instance
            system
            ;
          source = self;
        };
      perSystem = attribute: nixpkgs.lib.genAttrs systems (system: (agencyFor system).${attribute});
      agency = agencyFor "x86_64-linux";
    in
    {
      nixosModules = agency.modules;
      nixosConfigurations = agency.offered;
      inherit (agency) homeModules lib;
      packages = perSystem "packages";
      apps = perSystem "apps";
      checks = perSystem "checks";
      devShells = perSystem "devShells";
      formatter = perSystem "formatter";
    };
}
