# The small guest of a spin-up: homeserver, control plane and the instance's agents, no way in or
# out, nothing kept. How it boots is in vm.nix and container.nix.
{
  config,
  lib,
  modulesPath,
  ...
}:
{
  imports = [
    ./tools.nix
    (modulesPath + "/profiles/minimal.nix")
  ];

  # Whoever made it comes in by Incus.
  users.allowNoPasswordLogin = true;
  networking.hostName = lib.mkDefault "throwaway";
  networking.useDHCP = lib.mkDefault false;

  agency = {
    upkeep.enable = false;
    # Whatever the instance runs elsewhere.
    services.matrix.enable = true;

    # The control plane makes its room; a guest does not live long enough to drift.
    rooms.enable = false;

    # A spin-up starts a provider of its own and logs in; until then there is none.
    matrix.oidc = {
      enable = true;
      id = "throwaway";
      name = "OpenID provider of this spin-up";
      issuer = "http://127.0.0.1:${toString config.agency.ports.oidc-provider}";
      plainHttp = true;
      # Of the package oidc-provider.
      endpoints = {
        authorization = "/auth";
        token = "/token";
        userinfo = "/me";
        jwks = "/jwks";
      };
    };

    matrix.memoryMax = lib.mkDefault "512M";
    control.memoryMax = lib.mkDefault "256M";
    postgresql.memoryMax = lib.mkDefault "256M";
  };

  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
  system.stateVersion = "26.05";
}
