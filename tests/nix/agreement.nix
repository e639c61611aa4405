# What the modules make of many instances, without the rest of NixOS: names, numbers, users, secrets.
#
#   directories  rendered instances
{ directories }:
let
  lib = import <nixpkgs/lib>;
  anything = lib.mkOption {
    type = lib.types.anything;
    default = { };
  };
  # What the modules set of NixOS, taken as it comes.
  nixos = {
    options = {
      assertions = lib.mkOption { type = lib.types.listOf lib.types.raw; };
      users = {
        mutableUsers = anything;
        allowNoPasswordLogin = anything;
        groups = anything;
        users = lib.mkOption {
          type = lib.types.attrsOf (
            lib.types.submodule {
              freeformType = lib.types.attrsOf lib.types.anything;
              options.uid = lib.mkOption { default = null; };
            }
          );
        };
      };
    }
    // lib.genAttrs [
      "environment"
      "networking"
      "nix"
      "programs"
      "security"
      "services"
      "sops"
      "systemd"
      "virtualisation"
    ] (_: anything);
    config = {
      users.users.root.uid = 0;
      _module.args.pkgs = {
        shadow = "/shadow";
        callPackage = _: _: "/agency";
      };
    };
  };

  seen =
    directory:
    let
      machine = lib.evalModules {
        modules = [
          nixos
          ../../modules/agents
          ../../modules/control
          (
            { config, ... }:
            {
              agency.instance.directory = /. + directory;
              agency.prefix = "/agency";
              agency.secrets = lib.genAttrs (map (one: one.name) config.agency.instance.facts.secretsRequired) (
                _: { }
              );
            }
          )
        ];
      };
      inherit (machine) config;
      inherit (config.agency) instance;
    in
    {
      inherit (config.agency)
        name
        domain
        operators
        ports
        ;
      inherit (instance.facts) names;
      agents = lib.mapAttrs (_: agent: {
        inherit (agent)
          role
          uid
          port
          user
          matrixId
          ;
        account = { inherit (config.users.users.${agent.user}) uid group home; };
      }) config.agency.agents;
      accounts = lib.attrNames config.users.users;
      secrets = lib.mapAttrs (_: one: {
        inherit (one)
          class
          owner
          mode
          optional
          path
          ;
        consumers = lib.unique one.consumers;
      }) config.agency.secrets;
    };
in
lib.genAttrs directories seen
