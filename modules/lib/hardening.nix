# The one hardening function for the project's own units.
#
# `systemd-analyze security` rates every unit made with it at 2.0 or less; tests hold that. A unit
# that needs more says so in `relax`, a serviceConfig laid over the result.
{ lib }:
let
  base = {
    AmbientCapabilities = "";
    CapabilityBoundingSet = "";
    KeyringMode = "private";
    # The memory of a crashed program, its tokens among it, reaches no disk.
    LimitCORE = 0;
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    NoNewPrivileges = true;
    PrivateDevices = true;
    PrivateIPC = true;
    PrivateTmp = true;
    ProcSubset = "pid";
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectProc = "invisible";
    ProtectSystem = "strict";
    RemoveIPC = true;
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallErrorNumber = "EPERM";
    SystemCallFilter = [
      "@system-service"
      "~@privileged @resources"
    ];
    UMask = "0077";
  };

  networks = {
    none = {
      PrivateNetwork = true;
      IPAddressDeny = "any";
      RestrictAddressFamilies = "AF_UNIX";
    };
    loopback = {
      IPAddressDeny = "any";
      IPAddressAllow = "localhost";
      RestrictAddressFamilies = "AF_UNIX AF_INET AF_INET6";
    };
    open.RestrictAddressFamilies = "AF_UNIX AF_INET AF_INET6";
  };

  # The calls of a unit that starts programs of its own: by prlimit, which sets their limits, and by
  # setpriv, which sets capabilities whatever it is asked for. There are none, so nothing is won by it.
  startsPrograms = [
    "@system-service"
    "~@privileged"
    "capset"
  ];

  # One agent's own home and nothing of the others'.
  homes = home: {
    ProtectHome = "tmpfs";
    BindPaths = home;
  };
in
{
  inherit base networks startsPrograms;

  # network: "none", "loopback" or "open". home: a path that the unit may see and write, or null.
  harden =
    {
      network ? "none",
      home ? null,
      relax ? { },
    }:
    base // networks.${network} // lib.optionalAttrs (home != null) (homes home) // relax;
}
