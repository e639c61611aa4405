# What an agent finds in its home, declared with home-manager where the machine has it.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) mkOption types;
  opt = import ../lib/options.nix { inherit lib; };
  hasHomeManager = options ? home-manager;
  agents = lib.filterAttrs (_: agent: agent.homeModules != [ ]) config.agency.agents;
in
{
  options.agency.agents = mkOption {
    type = types.attrsOf (
      types.submodule {
        options.homeModules = opt.listOf types.deferredModule "Modules of home-manager for its home.";
      }
    );
  };

  config = {
    assertions = lib.mapAttrsToList (name: _: {
      assertion = hasHomeManager;
      message = ''
        agency.agents.${name}: homeModules are given, and home-manager is not part of this machine.
        Import home-manager's NixOS module, as the flake of this project does.
      '';
    }) agents;
  }
  // lib.optionalAttrs hasHomeManager {
    home-manager = {
      useGlobalPkgs = true;
      useUserPackages = true;
      users = lib.mapAttrs' (
        _: agent:
        lib.nameValuePair agent.user {
          imports = agent.homeModules;
          home.stateVersion = lib.mkDefault config.system.stateVersion;
        }
      ) agents;
    };
  };
}
