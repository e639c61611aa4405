# Pure helpers shared by the modules. `lib` is nixpkgs' library.
{ lib }:
{
  hardening = import ./hardening.nix { inherit lib; };
  types = import ./types.nix { inherit lib; };
  naming = lib.importJSON ../naming.json;
  options = import ./options.nix { inherit lib; };
  preview = import ./preview.nix { inherit lib; };
  assertions = import ./assertions.nix { inherit lib; };
}
