# One PostgreSQL for all services that need one: a role and a database each, over the local socket,
# with peer authentication; no password, no TCP, no superuser.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.postgresql;
  isPortable = config.agency.platform == "portable";
in
{
  imports = [
    ./base.nix
    ./memory.nix
  ];

  options.agency.postgresql = {
    enable =
      opt.bool (cfg.databases != [ ]) "The shared PostgreSQL."
      // opt.md "whether a feature asks for a database";
    databases = opt.listOf types.str "Databases to keep, each owned by the role, and reachable by the system user, of the same name.";
    memoryMax = opt.str "2G" "Most memory that PostgreSQL may use.";
  };

  config = lib.mkIf cfg.enable {
    services.postgresql = {
      enable = true;
      # Of the Debian release that guests run, whose own cluster lies where this one would.
      package = lib.mkIf isPortable pkgs.postgresql_15;
      dataDir = lib.mkIf isPortable "/var/lib/postgresql/agency";
      enableTCPIP = false;
      settings.listen_addresses = lib.mkForce "";
      # Synapse refuses a database whose collation is not C.
      initdbArgs = [
        "--locale=C"
        "--encoding=UTF8"
      ];
      ensureDatabases = cfg.databases;
      ensureUsers = map (name: {
        inherit name;
        ensureDBOwnership = true;
        ensureClauses.superuser = false;
      }) cfg.databases;
      authentication = lib.mkForce ''
        local all postgres peer map=postgres
        local sameuser all peer
      '';
    };
    agency.memory.parts.postgresql = cfg.memoryMax;
    systemd.services.postgresql.serviceConfig.MemoryMax = cfg.memoryMax;

    assertions = map (user: {
      assertion = user.ensureClauses.superuser or null != true;
      message = ''
        agency.postgresql: the role ${user.name} asks to be a superuser, which no service here may be.
        Remove ensureClauses.superuser from it and grant what it needs.
      '';
    }) config.services.postgresql.ensureUsers;
  };
}
