# The machine's own network: what its DHCP client takes on, and whom sshd lets in.
{
  config,
  lib,
  ...
}:
let
  agency = config.agency;
  # Of containers and pods: an address that a DHCP client gives one of them brings its own route.
  ofContainers = [
    "veth*"
    "docker*"
    "br-*"
    "cni*"
    "flannel*"
    "incusbr*"
    "vxlan*"
  ];
  group = (import ./lib { inherit lib; }).naming.agents.group;
in
{
  imports = [ ./base.nix ];

  config = {
    networking.dhcpcd.denyInterfaces = ofContainers;
    # An agent's key signs what it commits. It has no shell, and without one it could still forward.
    services.openssh.settings.DenyGroups = lib.mkIf (agency.agents or { } != { }) [ group ];
  };
}
