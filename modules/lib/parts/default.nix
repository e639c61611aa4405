# Parts that a spin-up's profile adds to the guest (`spinup_smoke --with NAME`): a file each, whose
# export is apart from what every guest has, so that the default guest has none of it. What such a part
# changes of that is exported as what comes to it: drop-ins of units, JSON documents that the activation
# joins with those that are there, and elements of the firewall's sets. A part takes nothing away.
#
#   NAME.nix  module    what the guest's configuration has beside the default one
#             units     units of the distribution, or of ours, that are exported and started
#             debian    units of Debian's packages, which are started as they are
#             users     users of the distribution that they run as
#             adapted   words of an exported text that must be others there: { from, to }
#             texts     further files of what NixOS says elsewhere: configuration -> path -> text
#             machine, instance  further files, by their path below /
{
  lib,
  guest,
  guestWith,
  fillInstance,
  namesInstance,
  unitFiles,
  ownNames,
  userLine,
  groupLine,
  portElementsOf,
  elementLines,
  common,
  everywhere ? { },
}:
let
  changes = import ../changes.nix { inherit lib; };

  # Texts of a configuration that the default guest has, too, by their paths below /.
  textsOf =
    config:
    unitFiles config common
    // lib.mapAttrs' (path: etc: lib.nameValuePair "etc/${path}" etc.text) (
      lib.filterAttrs (path: _: lib.hasPrefix "agency/" path) config.environment.etc
    );
  default = textsOf guest;

  # What the part changes of them: more in a document, or in a unit.
  changed =
    name: config:
    let
      after = textsOf config;
      differing = lib.filter (path: after.${path} or null != default.${path}) (lib.attrNames default);
      isUnit = lib.hasPrefix "etc/systemd/system/";
      isDocument = path: lib.hasSuffix ".json" path || lib.hasSuffix ".yaml" path;
      said = path: "portable: part ${name}: ${path}";
      of = read: paths: lib.genAttrs paths (path: read (said path) default.${path} after.${path});
      refused = lib.filter (path: !(after ? ${path} && (isUnit path || isDocument path))) differing;
    in
    assert lib.assertMsg (refused == [ ]) "portable: part ${name} changes ${toString refused}";
    {
      dropIns = lib.mapAttrs' (path: lib.nameValuePair "${path}.d/60-${name}.conf") (
        of changes.ofUnit (lib.filter isUnit differing)
      );
      joined = of changes.ofDocument (lib.filter (path: !isUnit path) differing);
    };

  # Ports with owners that the default guest's firewall does not have.
  firewallFile =
    name: config:
    let
      more = changes.ofLists "portable: part ${name}: the firewall" (portElementsOf guest) (
        portElementsOf config
      );
    in
    # No agent has a dot in its name.
    lib.optionalAttrs (lib.any (one: one != [ ]) (lib.attrValues more)) {
      "etc/nftables.d/agency-agents.d/part.${name}.nft" = elementLines more;
    };

  # A unit of ours that every machine has as a file is no part's, and must be the same in both.
  without =
    name: texts:
    let
      differing = lib.filter (path: texts.${path} or everywhere.${path} != everywhere.${path}) (
        lib.attrNames everywhere
      );
    in
    assert lib.assertMsg (differing == [ ]) "portable: part ${name} changes ${toString differing}";
    removeAttrs texts (lib.attrNames everywhere);

  # Files below /etc/agency that the default guest lacks.
  addedEtc =
    config:
    lib.mapAttrs' (path: etc: lib.nameValuePair "etc/${path}" etc.text) (
      lib.filterAttrs (
        path: _: lib.hasPrefix "agency/" path && !(guest.environment.etc ? ${path})
      ) config.environment.etc
    );

  export =
    name:
    let
      part = import ./${name}.nix { inherit lib; };
      config = guestWith [ part.module ];
      exported = without name (
        unitFiles config (part.units ++ lib.subtractLists (ownNames guest) (ownNames config))
      );
      etc = addedEtc config;
      adapt = lib.mapAttrs (
        _: lib.replaceStrings (map (one: one.from) part.adapted) (map (one: one.to) part.adapted)
      );
      texts = adapt exported;
      more = changed name config;
      lost = lib.filter (
        one: !lib.any (lib.hasInfix one.from) (lib.attrValues (exported // etc))
      ) part.adapted;
    in
    assert lib.assertMsg (lost == [ ])
      "portable: part ${name} has no ${toString (map (one: one.from) lost)}";
    {
      files =
        lib.filterAttrs (_: text: !namesInstance text) texts
        // lib.optionalAttrs (part.users != [ ]) {
          "usr/lib/sysusers.d/agency-${name}.conf" = lib.concatMapStrings (
            user: groupLine config user + userLine config user
          ) part.users;
        }
        // more.dropIns
        // firewallFile name config
        // (part.texts or (_: { })) config
        // part.machine;
      instanceFiles =
        lib.mapAttrs (_: fillInstance) (lib.filterAttrs (_: namesInstance) texts // adapt etc)
        // part.instance;
      joinedFiles = lib.mapAttrs (_: fillInstance) more.joined;
      start = {
        units = (part.debian or [ ]) ++ part.units;
        agentUnits = [ ];
      };
    };

  names = map (lib.removeSuffix ".nix") (
    lib.filter (file: lib.hasSuffix ".nix" file && file != "default.nix") (
      lib.attrNames (builtins.readDir ./.)
    )
  );
in
lib.genAttrs names export
