# A headless Wayland desktop of its own, seen through a VNC socket that only its owner can open.
{ lib, ... }:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  feature = import ../lib/agent-feature.nix { inherit lib; };
in
{
  imports = [
    (feature {
      name = "desktop";
      description = "A headless Wayland desktop.";
      options = {
        resolution = opt.is (
          types.strMatching "[1-9][0-9]{2,4}x[1-9][0-9]{2,4}"
          // {
            description = "a resolution such as 1920x1080";
          }
        ) "1920x1080" "Size of the screen.";
      };
      units.desktop = {
        description = "Desktop of agent %i";
        command = [
          "workspace"
          "desktop"
          "%i"
        ];
        network = "none";
        # The compositor maps its shader compiler's output.
        relax.MemoryDenyWriteExecute = false;
        serviceConfig = {
          RuntimeDirectory = "agency-desktop/%i";
          RuntimeDirectoryMode = "0700";
          Restart = "always";
        };
      };
      settings = agent: { inherit (agent.desktop) resolution; };
    })
  ];
}
