# Engines of others: the repository with the pipeline, its secrets, and the engine's OAuth client at
# a Gitea, which a reconciler makes and renews. GitLab's is made with the rest of GitLab.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  ci = config.agency.ci;
  cfg = ci.pipeline;
  agency = config.agency;
  hosts = agency.instance.facts.names.hosts;
  isRemote = ci.enable && ci.engine != "builtin";
  engineToken = "ci-engine-token";
  logIns = {
    drone = "/login";
    woodpecker = "/authorize";
  };
  client = "${ci.engine}-oauth-client";
  issues =
    isRemote
    && logIns ? ${ci.engine}
    && agency.forge.kind == "gitea"
    # Said by the rendered instance: secrets themselves come from units, which are made here.
    && lib.any (
      one: one.name == "${client}-id" && one.class == "C"
    ) agency.instance.facts.secretsRequired;
in
{
  options.agency.ci.pipeline = {
    repository =
      opt.matching "[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+" "${agency.name}/recipe-runs"
        "Repository with the pipeline that an engine of others starts. Only its administrators may write to it."
      // opt.code ''"''${config.agency.name}/recipe-runs"'';
    branch = opt.matching "[A-Za-z0-9][A-Za-z0-9._/-]*" "main" "Branch of it.";
    secrets =
      opt.is (types.attrsOf (types.strMatching "[a-z][a-z0-9-]*")) { }
        "Secrets that the pipeline is given by the engine: by its name there, one of `agency.secrets`. A reconciler puts them there by the engine's interface."
      // {
        example = {
          REGISTRY_LOGIN = "registry-credentials";
        };
      };
  };

  config = lib.mkIf ci.enable {
    agency.reconcilers = {
      pipeline-secrets = lib.mkIf (isRemote && cfg.secrets != { }) {
        description = "Secrets of recipe CI's pipeline at its engine";
        network = "open";
        background = true;
        secrets = lib.unique ([ engineToken ] ++ lib.attrValues cfg.secrets);
        input = { inherit (cfg) secrets; };
      };
      gitea-client = lib.mkIf issues {
        description = "OAuth client of the CI engine at Gitea";
        network = "open";
        background = true;
        # Root, for what it issues is read by the units of other users through systemd alone.
        user = "root";
        secrets = [ "forge-bot-token" ];
        input = {
          inherit (agency.forge) url;
          name = "${ci.engine} of ${agency.name}";
          redirectUri = "https://${hosts.${ci.engine}}${logIns.${ci.engine} or ""}";
          issued = client;
          issuedDir = "/var/lib/agency/issued";
        };
        serviceConfig = {
          StateDirectory = "agency/issued";
          StateDirectoryMode = "0700";
        };
      };
    };
    agency.issued.enable = lib.mkIf issues true;
    systemd.services = {
      # Skipped, not failed, until somebody could log in to the engine and bring its token.
      agency-reconcile-pipeline-secrets = lib.mkIf (isRemote && cfg.secrets != { }) {
        unitConfig.ConditionPathExists = agency.secrets.${engineToken}.path;
      };
      # Also after a run that failed: it may have issued something before.
      agency-reconcile-gitea-client = lib.mkIf issues {
        onSuccess = [ "agency-issued.service" ];
        onFailure = [ "agency-issued.service" ];
      };
    };

    assertions = [
      {
        assertion = isRemote || cfg.secrets == { };
        message = ''
          agency.ci.pipeline.secrets: the engine ${ci.engine} has no pipeline that could be given any.
          Leave them out, or set services.ci.engine to another engine in instance.yaml and run `agency render`.
        '';
      }
    ];
  };
}
