# Recipe CI: the swarm, its proxy, and the bridge, the runner and the dashboard.
#
# What a guest without a network cannot fetch, the run brings along (below `place`): abra, the
# recipe of Traefik with its ports moved, and images. Docker's units are Debian's and its settings
# NixOS's. The forge is none: the bridge asks a name that nothing in the guest resolves.
{ lib }:
let
  place = "/opt/agency-recipes";
in
{
  debian = [
    "containerd.service"
    "docker.socket"
    "docker.service"
  ];
  units = [
    "agency-reconcile-swarm-init.service"
    "agency-reconcile-proxy-network.service"
    "agency-reconcile-traefik.timer"
    "agency-bridge.service"
    "agency-dashboard.service"
    "agency-runner.service"
  ];
  users = [ "agency-recipes" ];
  module =
    { config, ... }:
    {
      agency = {
        services = {
          swarm.enable = true;
          traefik.enable = true;
          ci.enable = true;
          bridge.enable = true;
          dashboard.enable = true;
        };
        traefik.environment = "/usr/lib/agency/recipes/traefik.env";
        forge.url = "https://forge.${config.agency.domain}";
        # A person brings them encrypted, and so does the run.
        secrets =
          lib.genAttrs
            [
              "forge-bot-token"
              "wildcard-certificate"
              "wildcard-certificate-key"
            ]
            (_: {
              class = "A2";
              generator = "external";
            })
          // {
            webhook-hmac = {
              class = "A2";
              generator = "token";
            };
          };
      };
    };
  adapted = [
    {
      from = ''"recipeSource":""'';
      to = ''"recipeSource":"${place}/traefik"'';
    }
  ];
  texts =
    config:
    let
      table = config.networking.nftables.tables.agency-docker;
      inherit (config.agency.swarm) dockerGroup;
    in
    {
      # Debian's unit names the socket.
      "etc/docker/daemon.json" =
        builtins.toJSON (removeAttrs config.virtualisation.docker.daemon.settings [ "hosts" ]) + "\n";
      "etc/nftables.d/agency-docker.nft" = ''
        table ${table.family} agency-docker
        delete table ${table.family} agency-docker
        table ${table.family} agency-docker {
        ${table.content}}
      '';
      "usr/lib/sysusers.d/agency-docker.conf" = "g ${dockerGroup} ${
        toString config.users.groups.${dockerGroup}.gid
      }\n";
    };
  machine = { };
  instance."usr/lib/agency/recipes/traefik.env" = "{{ generated['abra/traefik.env'] }}";
}
