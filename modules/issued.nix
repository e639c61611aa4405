# What the instance's own forge issues while the machine runs: client ids, client secrets, tokens.
#
# The reconciler gitlab-bootstrap puts them under /var/lib/agency/issued. Services that must run
# before the forge does read a file composed of them, which holds a fallback until they are issued.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  agency = config.agency;
  directory = "/run/agency-issued";
  source = "/var/lib/agency/issued";
  unit = "agency-issued";
  files = agency.issuedFiles;
  watched = lib.filterAttrs (_: secret: secret.class == "C") agency.secrets;
  readers = lib.unique (lib.concatMap (file: file.consumers) (lib.attrValues files));
  exists = one: config.systemd.services ? ${lib.removeSuffix ".service" one};
  configuration = {
    inherit directory;
    files = lib.mapAttrsToList (name: file: {
      inherit name;
      inherit (file) content fallback consumers;
      secrets = lib.genAttrs file.secrets (secret: agency.secrets.${secret}.path);
    }) files;
    watched = lib.mapAttrsToList (_: secret: {
      inherit (secret) path;
      consumers = lib.filter exists (lib.unique secret.consumers);
    }) (removeAttrs watched (lib.concatMap (file: file.secrets) (lib.attrValues files)));
  };

  fileModule =
    { name, ... }:
    {
      options = {
        content = opt.must types.str "Text of the file, with `@<secret>@` where a value belongs.";
        fallback = opt.nullOr types.str "What stands there until every secret is issued. Null: no file.";
        secrets = opt.must (types.listOf types.str) "Names of the secrets in it.";
        consumers = opt.listOf types.str "Units that load the file as a credential. They are restarted when it changes.";
        credential =
          opt.fixed types.str "${name}:${directory}/${name}"
            "The word for `LoadCredential=` that hands the file to a unit under its own name."
          // opt.code ''"''${name}:${directory}/''${name}"'';
        path =
          opt.fixed types.str "${directory}/${name}" "Where the file is."
          // opt.code ''"${directory}/''${name}"'';
      };
    };
in
{
  imports = [ ./base.nix ];

  options.agency = {
    issued.enable =
      opt.bool (
        files != { } || agency.services.gitlab.enable or false
      ) "Keep the files composed of issued secrets current."
      // opt.md "whether the instance runs its own forge, or a service needs such a file";
    issuedFiles = opt.attrsOf (types.submodule fileModule) "Files composed of secrets, those of class C among them, by name.";
  };

  config = lib.mkIf agency.issued.enable {
    agency.secrets = lib.mkMerge (
      lib.mapAttrsToList (
        _: file:
        lib.genAttrs file.secrets (_: {
          inherit (file) consumers;
        })
      ) files
    );
    environment.etc."agency/issued.json".text = builtins.toJSON configuration;

    agency.units.${unit} = {
      description = "Files of what the forge issued";
      command = [
        "secrets"
        "compose"
        "--config"
        "/etc/agency/issued.json"
      ];
      type = "oneshot";
      user = "root";
      before = readers;
      path = [ config.systemd.package ];
      # No RemainAfterExit: a unit that issues a secret starts it again.
      wantedBy = [ "multi-user.target" ];
      restartTriggers = [ (builtins.toJSON configuration) ];
      # Secrets may belong to other users.
      relax.CapabilityBoundingSet = "CAP_DAC_READ_SEARCH";
      serviceConfig = {
        RuntimeDirectory = unit;
        RuntimeDirectoryMode = "0700";
        RuntimeDirectoryPreserve = true;
        MemoryMax = "128M";
        TasksMax = 16;
      };
    };
    # A reader that a switch starts brings the files along: it does not start without them.
    systemd.services = lib.genAttrs (map (lib.removeSuffix ".service") readers) (_: {
      wants = [ "${unit}.service" ];
      after = [ "${unit}.service" ];
    });
    systemd.tmpfiles.settings.agency-issued.${source}.d = {
      user = "root";
      group = "root";
      mode = "0700";
    };
  };
}
