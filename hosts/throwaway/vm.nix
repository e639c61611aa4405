# The guest as a virtual machine of Incus.
{ modulesPath, ... }:
{
  imports = [
    ./.
    ./rebuild.nix
    (modulesPath + "/virtualisation/incus-virtual-machine.nix")
  ];
}
