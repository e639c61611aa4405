# Traefik on the swarm: the Co-op Cloud recipe, deployed by abra, with the wildcard certificate.
#
# The recipe is the instance's, in its repository, and so pinned with it. Only its ports are others
# than published, since 443 belongs to the edge.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.traefik;
  agency = config.agency;
  hosts = agency.instance.facts.names.hosts;
  ports = {
    "80" = toString agency.ports.traefik-http;
    "443" = toString agency.ports.traefik;
  };

  compose = cfg.recipe + "/compose.yml";
  hasRecipe = builtins.pathExists compose;
  # Earlier ones ask Docker for a version of its interface that it no longer speaks.
  oldest = "3.6.1";
  tags = lib.concatMap (
    line:
    let
      found = builtins.match "[[:space:]]*image:[[:space:]]*[\"']?([a-z0-9./]+/)?traefik:v?([0-9.]+).*" line;
    in
    lib.optional (found != null) (lib.elemAt found 1)
  ) (lib.optionals hasRecipe lines);
  # `v3.6` is the newest of its kind.
  isRecent =
    tag:
    lib.versionAtLeast tag oldest
    || lib.elem tag [
      "3"
      "3.6"
    ];
  lines = lib.splitString "\n" (builtins.readFile compose);
  published =
    line: builtins.match "([[:space:]]*-?[[:space:]]*published:[[:space:]]*)(80|443)[[:space:]]*" line;
  moved =
    line:
    let
      found = published line;
    in
    if found == null then line else lib.elemAt found 0 + ports.${lib.elemAt found 1};
  publishes = lib.naturalSort (
    map (line: lib.elemAt (published line) 1) (lib.filter (line: published line != null) lines)
  );
  # The first of two files of one name is taken.
  recipe = pkgs.symlinkJoin {
    name = "traefik-recipe";
    paths = [
      (pkgs.writeTextDir "compose.yml" (lib.concatMapStringsSep "\n" moved lines))
      (builtins.path {
        path = cfg.recipe;
        name = "traefik-recipe-source";
      })
    ];
  };
in
{
  imports = [
    ./base.nix
    ./edge.nix
    ./swarm.nix
  ];

  options.agency.traefik = {
    enable = opt.service agency.services "traefik" "Traefik, the proxy of the recipes under test.";
    abra =
      opt.package (pkgs.callPackage ../packages/abra { }) "Co-op Cloud's command line, which deploys it."
      // opt.md "abra of this flake";
    recipe =
      opt.path (
        agency.instance.directory + "/recipes/traefik"
      ) "The recipe coop-cloud/traefik at one release."
      // opt.code ''config.agency.instance.directory + "/recipes/traefik"'';
    environment =
      opt.path (
        agency.instance.directory + "/generated/abra/traefik.env"
      ) "The app's settings, as `agency render` writes them."
      // opt.code ''config.agency.instance.directory + "/generated/abra/traefik.env"'';
    wildcard =
      opt.fixed types.str "*.ci.${agency.domain}" "Names of apps under test."
      // opt.code ''"*.ci.''${config.agency.domain}"'';
  };

  config = lib.mkIf cfg.enable {
    agency.edge.passthrough = {
      ${cfg.wildcard} = agency.ports.traefik;
      ${hosts.traefik} = agency.ports.traefik;
    };
    # Docker's proxy answers there, which is root.
    agency.heldPorts = {
      traefik = { };
      traefik-http = { };
    };
    agency.reconcilers.traefik = {
      description = "Traefik on the swarm";
      after = [ "agency-reconcile-proxy-network.service" ];
      # It fetches an image.
      background = true;
      path = [
        cfg.abra
        pkgs.git
      ];
      secrets = [
        "wildcard-certificate"
        "wildcard-certificate-key"
      ];
      input = {
        domain = hosts.traefik;
        envFile = "${cfg.environment}";
        recipeSource = lib.optionalString hasRecipe "${recipe}";
      };
      # abra is a Go program that talks to Docker, and git checks the recipe out.
      serviceConfig = {
        SupplementaryGroups = [ agency.swarm.dockerGroup ];
        MemoryMax = "1G";
      };
    };

    assertions = [
      {
        assertion = agency.swarm.enable;
        message = ''
          agency.traefik: it is deployed on the swarm, which is off.
          Set services.swarm.enable in instance.yaml and run `agency render`, or turn Traefik off.
        '';
      }
      {
        assertion = agency.edge.enable;
        message = ''
          agency.traefik: port 443 belongs to the edge, which is off, so nothing would reach Traefik.
          Set services.edge.enable in instance.yaml and run `agency render`, or turn Traefik off.
        '';
      }
      {
        assertion = hasRecipe;
        message = ''
          agency.traefik: the instance has no recipe at recipes/traefik.
          Put coop-cloud/traefik there at one of its releases, and commit it: docs/install.md says how.
        '';
      }
      {
        assertion = lib.all isRecent tags;
        message = ''
          agency.traefik: the recipe's compose.yml has Traefik ${lib.concatStringsSep ", " tags}, which this machine's Docker ${config.virtualisation.docker.package.version} no longer talks to.
          Take a release of the recipe with Traefik ${oldest} or newer.
        '';
      }
      {
        assertion =
          !hasRecipe
          ||
            publishes == [
              "80"
              "443"
            ];
        message = ''
          agency.traefik: the recipe's compose.yml publishes its ports in a way that is not known here, so they cannot be moved from 80 and 443.
          Take a release of the recipe with one `published: 80` and one `published: 443`.
        '';
      }
    ];
  };
}
