# What a part of a profile adds to a text that every guest has. Each takes the words for errors, the
# default guest's and the part's; what would take something away ends the evaluation.
{ lib }:
let
  # Settings of [Unit] that are lists of names: a drop-in's come to those before.
  nameLists = [
    "After"
    "Before"
    "PartOf"
    "Requires"
    "Wants"
  ];
  names = lib.splitString " ";

  longer =
    said: before: after:
    let
      lost = lib.subtractLists after before;
    in
    assert lib.assertMsg (lost == [ ]) "${said} loses ${builtins.toJSON lost}";
    lib.subtractLists before after;

  # A document's: further keys, further elements of lists, other values.
  more =
    said: before: after:
    if lib.isAttrs before && lib.isAttrs after then
      let
        lost = lib.subtractLists (lib.attrNames after) (lib.attrNames before);
        differing = lib.filterAttrs (key: value: before.${key} or null != value) after;
      in
      assert lib.assertMsg (lost == [ ]) "${said} loses ${toString lost}";
      lib.mapAttrs (
        key: value: if before ? ${key} then more "${said}: ${key}" before.${key} value else value
      ) differing
    else if lib.isList before && lib.isList after then
      longer said before after
    else
      after;

  # [ { section, key, value } ] of the text of a unit.
  settingsOf =
    text:
    (lib.foldl'
      (
        read: line:
        let
          section = builtins.match "\\[(.*)]" line;
          setting = builtins.match "([^=]+)=(.*)" line;
        in
        if section != null then
          read // { section = lib.head section; }
        else if setting == null then
          read
        else
          read
          // {
            all = read.all ++ [
              {
                inherit (read) section;
                key = lib.elemAt setting 0;
                value = lib.elemAt setting 1;
              }
            ];
          }
      )
      {
        section = "";
        all = [ ];
      }
      (lib.splitString "\n" (lib.replaceStrings [ "\\\n" ] [ " " ] text))
    ).all;
in
{
  ofLists = said: before: lib.mapAttrs (key: longer "${said}: ${key}" before.${key});

  ofDocument =
    said: before: after:
    builtins.toJSON (more said (builtins.fromJSON before) (builtins.fromJSON after));

  # A drop-in with what the unit has beside the default one's.
  ofUnit =
    said: before: after:
    let
      old = settingsOf before;
      isList = one: one.section == "Unit" && lib.elem one.key nameLists;
      namesOf =
        settings: one:
        lib.concatMap (other: names other.value) (
          lib.filter (other: other.section == one.section && other.key == one.key) settings
        );
      new = settingsOf after;
      lost = lib.filter (
        one:
        !lib.elem one new && !(isList one && lib.subtractLists (namesOf new one) (namesOf old one) == [ ])
      ) old;
      added = map (
        one:
        if isList one then
          one // { value = toString (lib.subtractLists (namesOf old one) (names one.value)); }
        else
          one
      ) (lib.subtractLists old new);
      ofSection =
        section:
        "[${section}]\n"
        + lib.concatMapStrings (one: "${one.key}=${one.value}\n") (
          lib.filter (one: one.section == section) added
        );
    in
    assert lib.assertMsg (lost == [ ])
      "${said} loses ${toString (map (one: "${one.key}=${one.value}") lost)}";
    lib.concatMapStringsSep "\n" ofSection (lib.unique (map (one: one.section) added));
}
