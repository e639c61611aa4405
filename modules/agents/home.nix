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
  # Those that run the agent's programs as the agent.
  unitsOf =
    name:
    lib.filter (
      unit:
      lib.hasPrefix "agency-agent" unit
      && lib.hasSuffix "@" unit
      && (unit == naming.agents.unit || lib.elem name config.agency.units.${unit}.instances)
      && config.agency.units.${unit}.user == "${naming.agents.prefix}%i"
    ) (lib.attrNames config.agency.units);
  inherit (import ../lib { inherit lib; }) naming;
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
    # Units have no path of their own; what its home brings is on that of the agent's programs.
    systemd.services = lib.concatMapAttrs (
      name: agent:
      lib.genAttrs (map (unit: "${unit}${name}") (unitsOf name)) (_: {
        environment.PATH = "/etc/profiles/per-user/${agent.user}/bin:/run/current-system/sw/bin";
      })
    ) (lib.optionalAttrs hasHomeManager agents);
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
