# A browser on the desktop, driven over a pipe: no debugging port for others to find.
{ config, lib, ... }:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  feature = import ../lib/agent-feature.nix { inherit lib; };
  agents = config.agency.agents;
in
{
  imports = [
    (feature {
      name = "browser";
      description = "A browser on the agent's desktop, with a profile that lasts.";
      options = {
        extensions = opt.listOf (types.strMatching "[a-p]{32}") "Identifiers of extensions to install.";
      };
      units.browser = {
        description = "Browser of agent %i";
        command = [
          "workspace"
          "browser"
          "%i"
        ];
        network = "loopback";
        after = [ "agency-agent-desktop@%i.service" ];
        requires = [ "agency-agent-desktop@%i.service" ];
        relax = {
          # JavaScript is compiled at run time, and the browser's own sandbox makes namespaces.
          MemoryDenyWriteExecute = false;
          RestrictNamespaces = "user pid net";
        };
        serviceConfig = {
          RuntimeDirectory = "agency-browser/%i";
          RuntimeDirectoryMode = "0700";
          Restart = "always";
        };
      };
      settings = agent: { inherit (agent.browser) extensions; };
    })
  ];

  config.assertions = map (name: {
    assertion = agents.${name}.browser.enable -> agents.${name}.desktop.enable;
    message = ''
      agency.agents.${name}: a browser needs a desktop to be on.
      Set agency.agents.${name}.desktop.enable, or turn the browser off.
    '';
  }) (lib.attrNames agents);
}
