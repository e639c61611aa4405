# Every module by name: a feature is one file, or one folder with a default.nix, in this directory.
let
  notModules = [
    "default.nix"
    "home"
    "lib"
    "naming.json"
    "portable"
    "unwritten.json"
  ];
  entries = removeAttrs (builtins.readDir ./.) notModules;
  stem = file: builtins.substring 0 (builtins.stringLength file - 4) file;
in
builtins.listToAttrs (
  map (entry: {
    name = if entries.${entry} == "directory" then entry else stem entry;
    value = ./. + "/${entry}";
  }) (builtins.attrNames entries)
)
