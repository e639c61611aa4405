# The memory of the machine, divided: limits that can be reached together fit into it together.
{ config, lib, ... }:
let
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.memory;
  size = lib.types.strMatching "[0-9]+[MG]";
  mib =
    text:
    let
      found = builtins.match "([0-9]+)([MG])" text;
    in
    lib.toInt (lib.head found) * (if lib.last found == "G" then 1024 else 1);
  sum = lib.foldl' (total: text: total + mib text) 0;
  needed = sum (lib.attrValues cfg.parts ++ [ cfg.system ]);
  # Rounded up.
  gib = amount: "${toString ((amount + 1023) / 1024)} GiB";
  limits = map (name: "${name} ${cfg.parts.${name}}") (
    lib.sort (one: other: mib cfg.parts.${one} > mib cfg.parts.${other}) (lib.attrNames cfg.parts)
  );
in
{
  imports = [ ./instance.nix ];

  options.agency.memory = {
    machine =
      opt.is size "32G"
        "Memory that the machine has. The limits of its services add up to no more.";
    system =
      opt.is size "2G"
        "What is left for the kernel, systemd, the agency's small units and whoever logs in.";
    parts = opt.attrsOf size "Limits that may be reached at the same time, by what they are of. Features add theirs.";
    mib =
      opt.fixed lib.types.int (mib cfg.machine) "Memory that the machine has, in MiB."
      // opt.md "agency.memory.machine";
  };

  config.assertions = [
    {
      assertion = needed <= mib cfg.machine;
      message = ''
        agency.memory: the limits of ${lib.concatStringsSep ", " limits} and ${cfg.system} for the system add up to ${gib needed}, and the machine has ${cfg.machine}.
        Set agency.memory.machine to what it has, turn off what is not needed, or lower a limit (memoryMax of each).
      '';
    }
  ];
}
