# Versions of Python packages in <nixpkgs>, for tools/nixpkgs_versions.py.
{ names }:
let
  pkgs = import <nixpkgs> { };
  inherit (pkgs) lib;
  # What the Python packages do not have under PyPI's name.
  renamed.matrix-synapse = pkgs.matrix-synapse-unwrapped;
  versionOf =
    name:
    let
      found = builtins.tryEval (renamed.${name} or pkgs.python3Packages.${name} or { }).version or null;
    in
    if found.success then found.value else null;
in
{
  python = pkgs.python3.pythonVersion;
  versions = lib.genAttrs names versionOf;
}
