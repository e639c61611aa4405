# Parts that a spin-up's profile adds to the guest (`spinup_smoke --with NAME`): a file each, whose
# export is apart from what every guest has, so that the default guest has none of it.
#
#   NAME.nix  module    what the guest's configuration has beside the default one
#             units     units of the distribution, or of ours, that are exported and started
#             users     users of the distribution that they run as
#             adapted   words of an exported text that must be others there: { from, to }
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
  common,
  everywhere ? { },
}:
let
  secretsOf = config: builtins.fromJSON config.environment.etc."agency/secrets.json".text;

  # Of every list in it what the default one lacks: the activation joins them.
  addedSecrets =
    config:
    let
      before = secretsOf guest;
      after = secretsOf config;
    in
    lib.mapAttrs (key: _: lib.subtractLists before.${key} after.${key}) {
      secrets = null;
      templates = null;
    };

  # Every other file is the same with the part and without it: parts can be combined.
  unchanged =
    name: config:
    let
      textsOf =
        one:
        unitFiles one common
        // lib.mapAttrs (_: etc: etc.text) (
          lib.filterAttrs (
            path: _: lib.hasPrefix "agency/" path && path != "agency/secrets.json"
          ) one.environment.etc
        );
      before = textsOf guest;
      after = textsOf config;
      differing = lib.filter (path: after.${path} or null != before.${path}) (lib.attrNames before);
    in
    lib.assertMsg (differing == [ ]) "portable: part ${name} changes ${toString differing}";

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
      texts = lib.mapAttrs (
        _: lib.replaceStrings (map (one: one.from) part.adapted) (map (one: one.to) part.adapted)
      ) exported;
      lost = lib.filter (one: !lib.any (lib.hasInfix one.from) (lib.attrValues exported)) part.adapted;
    in
    assert unchanged name config;
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
        // part.machine;
      instanceFiles =
        lib.mapAttrs (_: fillInstance) (
          lib.filterAttrs (_: namesInstance) texts
          // addedEtc config
          // {
            "etc/agency/secrets.json" = builtins.toJSON (addedSecrets config);
          }
        )
        // part.instance;
      start = {
        inherit (part) units;
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
