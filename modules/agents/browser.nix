# A browser with a profile that lasts, driven over a pipe: no debugging port for others to find.
#
#   agency-agent-gateway@NAME ─ starts ─▶ tool server ─▶ /run/agency-browser/NAME/cdp.sock
#                                                          └─ agency-agent-browser@NAME ─▶ Chromium
{ lib, pkgs, ... }:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  feature = import ../lib/agent-feature.nix { inherit lib; };
  inherit ((import ../lib { inherit lib; }).naming.agents) prefix;
in
{
  imports = [
    (feature {
      name = "browser";
      description = "A browser with a profile that lasts: on the agent's desktop, or headless where it has none.";
      options = {
        extensions = opt.listOf (types.strMatching "/[^,]+") "Directories of unpacked extensions that it loads; others it does not.";
        origins =
          opt.listOf (types.strMatching "https?://[A-Za-z0-9*][A-Za-z0-9.*-]*(:[0-9]+)?") "The only origins that it asks, whatever a page says. None: all that the agent's egress lets out."
          // {
            example = [ "https://docs.example.org" ];
          };
        memoryMax = opt.str "768M" "Most memory of the browser, within that of the agent. A page that takes more ends, and not the browser.";
      };
      units.browser = {
        description = "Browser of agent %i";
        command = [
          "workspace"
          "browser"
          "%i"
        ];
        network = "loopback";
        path = [
          pkgs.chromium
          pkgs.util-linux # by which it is started
        ];
        after = [ "agency-agent-desktop@%i.service" ];
        relax = {
          # JavaScript is compiled at run time, and the browser's own sandbox makes namespaces.
          MemoryDenyWriteExecute = false;
          RestrictNamespaces = "user pid net";
          # It reads which processor and how much memory there is; Debian's does not start without.
          ProcSubset = "all";
          # Its sandbox shuts pages into an empty directory and gives up capabilities, within a user
          # namespace of its own. It is started by prlimit, which sets its limits.
          SystemCallFilter = [
            "@system-service"
            "~@privileged"
            "capset"
            "chroot"
            "seccomp"
          ];
        };
        serviceConfig = {
          RuntimeDirectory = "agency-browser/%i";
          RuntimeDirectoryMode = "0700";
          Restart = "always";
          OOMPolicy = "continue";
          PrivateMounts = true;
          PrivateUsers = true;
          SocketBindDeny = "any";
          TimeoutStopSec = "30s"; # it writes down what it holds
        };
      };
      settings =
        agent:
        let
          name = lib.removePrefix prefix agent.user;
        in
        {
          inherit (agent.browser) extensions origins;
          socket = "/run/agency-browser/${name}/cdp.sock";
          display = if agent.desktop.enable then "/run/agency-desktop/${name}/wayland-0" else null;
        };
      extra =
        { enabled, ... }:
        {
          # Its tools are a server that the gateway starts: `agency workspace serve browser NAME`.
          agency.units."agency-agent-gateway@".path = [ pkgs.playwright-mcp ];
          systemd.services = lib.mapAttrs' (
            name: agent:
            lib.nameValuePair "agency-agent-browser@${name}" {
              overrideStrategy = "asDropin";
              requires = lib.optional agent.desktop.enable "agency-agent-desktop@${name}.service";
              serviceConfig.MemoryMax = agent.browser.memoryMax;
            }
          ) enabled;
        };
    })
  ];
}
