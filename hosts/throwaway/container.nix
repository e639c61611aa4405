# The guest as a system container of Incus: no boot loader, no file systems of its own.
{ modulesPath, ... }:
{
  imports = [
    ./.
    ./rebuild.nix
    (modulesPath + "/virtualisation/lxc-container.nix")
  ];
}
