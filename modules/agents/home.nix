# What an agent finds in its home, declared with home-manager where the machine has it.
#
# Home-manager's own unit runs at each boot as the agent, outside of what confines an agent's units,
# and with the Nix daemon, which builds what fetches from anywhere. So it must execute nothing that
# the agent can write: no login shell, which reads ~/.profile, and no ~/.config/nix/nix.conf.
{
  config,
  lib,
  options,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  opt = import ../lib/options.nix { inherit lib; };
  inherit (import ../lib { inherit lib; }) naming;
  hasHomeManager = options ? home-manager;
  # Those that run the agent's programs as the agent.
  unitsOf =
    name:
    lib.filter (
      unit:
      lib.hasPrefix "agency-agent" unit
      && lib.hasSuffix "@" unit
      && (
        unit == naming.agents.unit
        || lib.elem unit config.agency.agents.${name}.templates
        || lib.elem name config.agency.units.${unit}.instances
      )
      && config.agency.units.${unit}.user == "${naming.agents.prefix}%i"
    ) (lib.attrNames config.agency.units);
  agents = lib.filterAttrs (_: agent: agent.homeModules != [ ]) config.agency.agents;
  # As home-manager names its unit: the dash is escaped.
  activation = agent: "home-manager-${utils.escapeSystemdPath agent.user}";

  # The terminal that people have too, and who commits.
  terminal = agent: {
    imports = [ ../home/terminal.nix ];
    programs.git.settings.user = {
      name = lib.mkDefault agent.user;
      email = lib.mkDefault "${agent.user}@${config.agency.domain}";
    };
  };

  onPath =
    name: agent:
    lib.genAttrs (map (unit: "${unit}${name}") (unitsOf name)) (_: {
      environment.PATH = "/etc/profiles/per-user/${agent.user}/bin:/run/current-system/sw/bin";
      after = [ "${activation agent}.service" ];
    });
  activate =
    agent:
    lib.nameValuePair (activation agent) {
      environment.NIX_USER_CONF_FILES = "/dev/null";
      serviceConfig = {
        ExecStart = lib.mkForce "${
          config.home-manager.users.${agent.user}.home.activationPackage
        }/activate --driver-version 1";
        Slice = "${agent.slice}.slice";
        NoNewPrivileges = true;
        PrivateNetwork = true;
        PrivateTmp = true;
        ProtectSystem = "strict";
        ProtectHome = "tmpfs";
        BindPaths = agent.home;
        RestrictAddressFamilies = "AF_UNIX";
        InaccessiblePaths = [ "-/run/dbus" ];
      };
    };
in
{
  options.agency.agents = mkOption {
    type = types.attrsOf (
      types.submodule (
        { config, ... }:
        {
          options = {
            homeModules = opt.listOf types.deferredModule "Modules of home-manager for its home.";
            # No feature with `enable`: a machine without home-manager has none to turn on.
            sharedTerminal = opt.bool false "Give its home the terminal of `homeModules.terminal`, which people import as well, with a Git identity of its own.";
          };
          config.homeModules = lib.mkIf config.sharedTerminal [ (terminal config) ];
        }
      )
    );
  };

  config = {
    systemd.services = lib.optionalAttrs hasHomeManager (
      lib.concatMapAttrs onPath agents // lib.mapAttrs' (_: activate) agents
    );
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
