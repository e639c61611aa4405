# Secrets: put in place before any service starts, handed to units as credentials.
#
# On NixOS with a sops file, sops-nix decrypts it. Where there is no NixOS (the exported units), or
# no file (an instance whose secrets the machine makes at each boot), a unit of our own does it.
#
# The facts of a secret are in the catalogue, secrets/catalogue.json; which of them an instance needs
# is decided by the program that renders it. A module names those that its services use here; the
# rest of the instance's secrets never reach this machine. The age key is the one thing that is not
# in git.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.agency;
  facts = cfg.instance.facts;
  secrets = cfg.secrets;
  catalogue = import ./lib/catalogue.nix { inherit lib; };
  required = lib.listToAttrs (map (one: lib.nameValuePair one.name one) facts.secretsRequired);
  safeModes = catalogue.modes;

  hasFile = builtins.pathExists cfg.sops.file;
  # Keys of a sops file are readable without a key; a value that sops made begins with ENC[.
  encryptedKey = builtins.match "([a-z0-9-]+): ENC\\[.*";
  inFile = lib.optionals hasFile (
    lib.concatLists (
      lib.filter (key: key != null) (
        map encryptedKey (lib.splitString "\n" (builtins.readFile cfg.sops.file))
      )
    )
  );
  bySops = cfg.secretsInstaller == "sops-nix";
  isEphemeral = facts.secrets.provider == "ephemeral";
  # A secret that no operator supplies is made on the machine.
  isPlaced =
    secret:
    secret.class != "C"
    && (
      if isEphemeral then
        lib.elem secret.class [
          "A2"
          "B"
        ]
      else
        secret.present
    );
  placed = lib.filterAttrs (_: isPlaced) secrets;
  brought = lib.attrNames (
    lib.filterAttrs (_: secret: secret.class == "A1" && !secret.optional) secrets
  );
  # Readers that need no restart, because they look at the secret each time they use it.
  restartedBy =
    name: secret:
    let
      facts = catalogue.factsOf name;
    in
    lib.subtractLists (lib.subtractLists (facts.restarts or [ ]) (facts.consumers or [ ])) (
      lib.unique secret.consumers
    );
  hasUnit = unit: config.systemd.services ? ${lib.removeSuffix ".service" unit};

  secretModule =
    { name, config, ... }:
    let
      fact = required.${name} or { };
    in
    {
      options = {
        class = mkOption {
          type = types.nullOr (types.enum (lib.attrNames catalogue.classes));
          default = fact.class or null;
          defaultText = lib.literalMD "from the rendered instance";
          description = lib.concatStringsSep " " (
            lib.mapAttrsToList (class: text: "${class}: ${text}.") catalogue.classes
          );
        };
        owner = mkOption {
          type = types.str;
          default = fact.owner or "root";
          defaultText = lib.literalMD "from the rendered instance";
          description = "User that owns the file. Units that load it as a credential need no more than root.";
        };
        mode = mkOption {
          type = types.str;
          default = fact.mode or "0400";
          defaultText = lib.literalMD "from the rendered instance";
          description = "Mode of the file: one of ${lib.concatStringsSep ", " safeModes}.";
        };
        optional = mkOption {
          type = types.bool;
          default = fact.optional or false;
          defaultText = lib.literalMD "from the rendered instance";
          description = "Whether the machine works without it.";
        };
        generator = mkOption {
          type = types.nullOr types.str;
          default = fact.generator or null;
          defaultText = lib.literalMD "from the rendered instance";
          description = "How the machine makes it where nobody brings it, as `agency secrets` knows it.";
        };
        consumers = mkOption {
          type = types.listOf types.str;
          example = [ "matrix-synapse.service" ];
          description = "Units that read the secret; those of this machine are restarted when it changes.";
        };
        present = mkOption {
          type = types.bool;
          readOnly = true;
          default = config.class == "C" || lib.elem name inFile;
          defaultText = lib.literalMD "whether it can be on this machine";
          description = "Whether the encrypted file has it. A secret of class C is never there: a reconciler obtains it.";
        };
        path = mkOption {
          type = types.str;
          readOnly = true;
          default = if config.class == "C" then "/var/lib/agency/issued/${name}" else "/run/secrets/${name}";
          defaultText = lib.literalExpression ''"/run/secrets/''${name}"'';
          description = "Where the plain secret is.";
        };
        credential = mkOption {
          type = types.str;
          readOnly = true;
          default = "${name}:${config.path}";
          defaultText = lib.literalExpression ''"''${name}:''${path}"'';
          description = "The word for `LoadCredential=` that hands the secret to a unit under its own name.";
        };
      };
      config.consumers = fact.consumers or [ ];
    };

  templateModule.options = {
    content = mkOption {
      type = types.str;
      description = "Text of the file, with `config.agency.placeholders.<secret>` where a value belongs.";
    };
    consumers = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Units that read the file. They are restarted when it changes.";
    };
  };

  forEach =
    condition: message:
    lib.mapAttrsToList (name: secret: {
      assertion = condition secret;
      message = "agency.secrets.${name}: ${message name secret}";
    }) secrets;
in
{
  imports = [ ./instance.nix ];

  options.agency = {
    secrets = mkOption {
      type = types.attrsOf (types.submodule secretModule);
      default = { };
      description = "The secrets that this machine uses.";
    };
    secretsInstaller = mkOption {
      type = types.enum [
        "sops-nix"
        "agency"
      ];
      default = if isEphemeral then "agency" else "sops-nix";
      defaultText = lib.literalMD "sops-nix where the instance's secrets are encrypted by sops";
      description = "What puts secrets in place.";
    };
    secretTemplates = mkOption {
      type = types.attrsOf (types.submodule templateModule);
      default = { };
      description = "Files made of several secrets when they are decrypted, at `/run/secrets/rendered/<name>`.";
    };
    placeholders = mkOption {
      type = types.attrsOf types.str;
      readOnly = true;
      default = if bySops then config.sops.placeholder else lib.mapAttrs (name: _: "@${name}@") secrets;
      defaultText = lib.literalMD "as whoever fills them in wants it";
      description = "What stands in a template for a secret until it is decrypted.";
    };
    sops = {
      file = mkOption {
        type = types.path;
        default = cfg.instance.directory + "/secrets/secrets.yaml";
        defaultText = lib.literalExpression ''config.agency.instance.directory + "/secrets/secrets.yaml"'';
        description = "The encrypted secrets of the instance, one top-level key each.";
      };
      ageKeyFile = mkOption {
        type = types.str;
        default = "/var/lib/agency/age.key";
        description = "The age private key that decrypts the secrets: the one secret that an operator puts on the machine.";
      };
    };
  };

  config = {
    sops = lib.mkIf bySops {
      useSystemdActivation = true;
      defaultSopsFile = cfg.sops.file;
      age.keyFile = cfg.sops.ageKeyFile;
      age.sshKeyPaths = [ ];
      gnupg.sshKeyPaths = [ ];
      secrets = lib.mapAttrs (name: secret: {
        inherit (secret) mode owner;
        restartUnits = lib.filter hasUnit (restartedBy name secret);
      }) placed;
      templates = lib.mapAttrs (_: template: {
        inherit (template) content;
        restartUnits = lib.unique template.consumers;
      }) cfg.secretTemplates;
    };

    # Readers may then rely on the presence of their secrets.
    systemd.services.sops-install-secrets = lib.mkIf (bySops && placed != { }) {
      before = [ "sysinit.target" ];
      # It puts a link there, which cannot take the place of a directory: the one of our own unit,
      # on a machine whose instance has got encrypted secrets since it booted.
      serviceConfig.ExecStartPre = "-${pkgs.findutils}/bin/find /run/secrets -maxdepth 0 -type d -exec ${pkgs.coreutils}/bin/rm --recursive -- {} +";
    };

    environment.etc = lib.mkIf (!bySops) {
      "agency/secrets.yaml" = lib.mkIf (!isEphemeral) { source = cfg.sops.file; };
      "agency/secrets.json".text = builtins.toJSON {
        inherit (facts.secrets) provider;
        file = "/etc/agency/secrets.yaml";
        age_key_file = cfg.sops.ageKeyFile;
        secrets = lib.mapAttrsToList (name: secret: {
          inherit name;
          inherit (secret)
            owner
            mode
            path
            generator
            ;
        }) placed;
        templates = lib.mapAttrsToList (name: template: {
          inherit name;
          inherit (template) content;
          path = "/run/secrets/rendered/${name}";
        }) cfg.secretTemplates;
      };
    };
    agency.units = lib.mkIf (!bySops) {
      agency-secrets = {
        description = "Secrets of the agency";
        command = [
          "secrets"
          "install"
          "--config"
          "/etc/agency/secrets.json"
        ];
        type = "oneshot";
        user = "root";
        wantedBy = [ "sysinit.target" ];
        before = [ "sysinit.target" ];
        after = [ "local-fs.target" ];
        unitConfig = {
          DefaultDependencies = false;
          RequiresMountsFor = cfg.sops.ageKeyFile;
        };
        restartTriggers = [ config.environment.etc."agency/secrets.json".text ];
        # It gives files to their owners, and later compares what it cannot read as root alone.
        relax = {
          CapabilityBoundingSet = "CAP_CHOWN CAP_FOWNER CAP_DAC_READ_SEARCH";
          SystemCallFilter = [
            "@system-service"
            "~@resources"
          ];
        };
        serviceConfig = {
          RemainAfterExit = true;
          RuntimeDirectory = "secrets";
          RuntimeDirectoryMode = "0751";
          RuntimeDirectoryPreserve = true;
        };
      };
    };

    assertions =
      forEach (secret: secret.class != null) (
        _: _: ''
          the instance does not list this secret.
          Run `agency render` with this version of the agency, or give it a class here.
        ''
      )
      ++ forEach (secret: isEphemeral || secret.class == null || secret.optional || secret.present) (
        name: _: ''
          secrets/secrets.yaml has no such key.
          Run `agency secrets doctor`; it says where ${name} comes from and how to put it in.
        ''
      )
      ++ forEach (secret: config.users.users ? ${secret.owner}) (
        _: secret: ''
          its owner ${secret.owner} is not a user of this machine.
          Name an existing user, or leave the owner out and load the secret as a credential.
        ''
      )
      ++ forEach (secret: lib.elem secret.mode safeModes) (
        _: secret: ''
          mode ${secret.mode} gives the secret to others.
          Use one of ${lib.concatStringsSep ", " safeModes}.
        ''
      )
      ++ [
        {
          assertion = isEphemeral -> brought == [ ];
          message = ''
            agency.secrets: the instance has no file of secrets, and nobody but an operator can bring ${lib.concatStringsSep ", " brought}.
            Set secrets.provider to sops in instance.yaml, run `agency render`, and put each in with `agency secrets set NAME`.
          '';
        }
      ];
  };
}
