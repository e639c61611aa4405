# Builders for assertions: every message states the fault and then the remedy.
{ lib }:
{
  # One assertion for every element of `list` that `bad` picks.
  forEach =
    list: ok: message:
    map (element: {
      assertion = ok element;
      message = message element;
    }) list;

  # Groups of more than one name that share a value: attrset name -> value, to list of { value, names }.
  collisions =
    attrs:
    let
      byValue = lib.groupBy (name: toString attrs.${name}) (lib.attrNames attrs);
    in
    lib.mapAttrsToList (value: names: { inherit value names; }) (
      lib.filterAttrs (_: names: lib.length names > 1) byValue
    );
}
