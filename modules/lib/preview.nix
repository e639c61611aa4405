# Features whose programs are not written yet: the program's own list, and what follows from it.
{ lib }:
let
  unwritten = lib.importJSON ../unwritten.json;
in
{
  inherit unwritten;

  # Whether a feature may be on, given `agency.preview`.
  allows = preview: feature: !(unwritten ? ${feature}) || lib.elem feature preview;

  # The feature whose unwritten program a command of `agency` would run, or null.
  featureOf =
    command:
    lib.findFirst (
      feature: lib.any (words: lib.take (lib.length words) command == words) unwritten.${feature}.commands
    ) null (lib.attrNames unwritten);
}
