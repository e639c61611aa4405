# What a unit needs that carries out runs of recipes: `agency recipes run`, whoever starts it.
#
#   config, pkgs    the machine's
{
  lib,
  config,
  pkgs,
}:
let
  agency = config.agency;
  cfg = agency.ci;
  # Of one suite, as the program bounds it.
  suiteTasks = 512;
  hardening = (import ./. { inherit lib; }).hardening;
in
rec {
  # abra with Docker and git deploys; Chromium tests, with certutil for the authority that it trusts.
  path = [
    agency.traefik.abra
    config.virtualisation.docker.package
    pkgs.chromium
    pkgs.git
    pkgs.nssTools
  ];

  relax = {
    # JavaScript is compiled at run time, and the browser's own sandbox makes namespaces.
    MemoryDenyWriteExecute = false;
    RestrictNamespaces = "user pid net";
    # The browser reads which processor and how much memory there is.
    ProcSubset = "all";
    # Each suite gets a control group of its own, below that of the unit.
    ProtectControlGroups = false;
    # The browser's sandbox shuts pages into an empty directory and gives up capabilities, within a
    # user namespace of its own.
    SystemCallFilter = [
      "@system-service"
      "~@privileged @resources"
      "capset"
      "chroot"
      "seccomp"
    ];
  };

  # Settings for an engine's own runner: it starts `agency recipes run`, so it is hardened and bounded
  # as ours, and its user is that of the state. StateDirectory keeps what the runner itself has.
  asUnitOfState =
    { User, directories }:
    lib.mapAttrs (_: lib.mkForce) (
      hardening.harden {
        network = "open";
        inherit relax;
      }
      // serviceConfig
      // {
        inherit User;
        DynamicUser = true;
        StateDirectory = directories;
        StateDirectoryMode = "0700";
      }
    );

  serviceConfig = {
    Slice = "agency-recipes.slice";
    SupplementaryGroups = [ agency.swarm.dockerGroup ];
    MemoryMax = cfg.memoryMax;
    TasksMax = suiteTasks * (cfg.maxTests + 1);
    # The groups of suites lie beside that of the program: one with processes cannot have limited ones.
    Delegate = "pids memory";
    DelegateSubgroup = "program";
    # A suite that is killed for its memory is that run's failure, not the unit's.
    OOMPolicy = "continue";
    PrivateMounts = true;
    PrivateUsers = true;
  };
}
