# The catalogue of secrets, `secrets/catalogue.json`, which the Python program reads as well.
#
#   classes, modes  what an entry may say
#   factsOf         name of a secret -> its entry, with its class, owner, mode, optional, generator,
#                   consumers and restarts; {} for a name that the catalogue does not know
{ lib }:
let
  catalogue = lib.importJSON ../../secrets/catalogue.json;
  # A name with a placeholder, such as agent-{agent}-ssh-key, stands for many; it has one at most.
  placeholders = [
    "{agent}"
    "{engine}"
    "{provider}"
  ];
  pattern = builtins.replaceStrings placeholders (map (_: "([a-z0-9-]+)") placeholders);
  candidates = lib.mapAttrsToList (template: entry: {
    inherit entry;
    match = builtins.match (pattern template);
  }) catalogue.secrets;
  factsOf =
    name:
    let
      found = lib.findFirst (one: one.match name != null) null candidates;
      value = lib.head (found.match name ++ [ "" ]);
      fill = builtins.replaceStrings placeholders (map (_: value) placeholders);
    in
    if found == null then
      { }
    else
      {
        inherit (found.entry)
          class
          owner
          mode
          generator
          ;
        optional = found.entry.optional or false;
        consumers = map fill found.entry.consumers;
        restarts = map fill found.entry.restarts;
      };
in
{
  inherit (catalogue) classes modes;
  inherit factsOf;
}
