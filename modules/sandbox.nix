# Sandboxes: leased throwaway machines for code that nobody has read yet. One service of the host
# makes them, so that who asks for one needs neither Docker nor KVM; leases end by a timer.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.agency.sandbox;
  agency = config.agency;
  inherit ((import ./lib { inherit lib; }).preview) allows;
  group = "agency-sandbox";
  socket = "/run/agency-sandbox.sock";
  configuration = {
    inherit socket;
    inherit (cfg)
      ttl
      leases
      memoryMb
      cpus
      ;
  };
  etc = "agency/sandbox.json";
  common = {
    # Root's leases are in one place, whoever makes them: these units and `agency sandbox up`. Who
    # may use Incus may do what root may; a user of its own would keep nothing from anyone.
    user = "root";
    network = "none"; # Incus answers on a socket in the file system
    serviceConfig = {
      StateDirectory = "agency-sandbox";
      StateDirectoryMode = "0700";
      # Where an Incus of our own is, on a machine that runs none: its locks.
      ReadWritePaths = [ "-/var/lib/agency-incus" ];
      MemoryMax = "512M";
      TasksMax = 128;
    };
    # To stop such an Incus when its last machine has gone, it is told by the time of its start.
    relax.ProtectProc = "default";
    after = [ "incus.service" ];
  };
in
{
  imports = [ ./base.nix ];

  options.agency.sandbox = {
    enable = mkOption {
      type = types.bool;
      default = agency.services.gitlab.enable or false && allows agency.preview "sandbox";
      defaultText = lib.literalMD "whether the instance runs GitLab, and the program is there or previewed";
      description = "The service that makes sandboxes.";
    };
    expiry.enable = mkOption {
      type = types.bool;
      default = cfg.enable;
      defaultText = lib.literalMD "whether the service runs";
      description = "The timer that ends leases, those that root makes by hand too.";
    };
    ttl = mkOption {
      type = types.strMatching "[0-9]{1,6}[smhd]";
      default = "4h";
      description = "After how long the sandbox of a merge request is destroyed, whoever uses it.";
    };
    leases = mkOption {
      type = types.ints.between 1 32;
      default = 2;
      description = "Most sandboxes at a time. Further requests are refused.";
    };
    memoryMb = mkOption {
      type = types.ints.between 1024 65536;
      default = 2048;
      description = "Memory of one sandbox, in MiB.";
    };
    cpus = mkOption {
      type = types.ints.between 1 64;
      default = 2;
      description = "Processors of one sandbox.";
    };
    group = mkOption {
      type = types.str;
      readOnly = true;
      default = group;
      description = "Group whose members may ask for a sandbox.";
    };
    socket = mkOption {
      type = types.str;
      readOnly = true;
      default = socket;
      description = "Where they ask.";
    };
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      virtualisation.incus.enable = true;
      networking.nftables.enable = true;
      users.groups.${group} = { };
      environment.etc.${etc}.text = builtins.toJSON configuration;

      agency.units.agency-sandbox = common // {
        description = "Sandboxes for code under review";
        command = [
          "sandbox"
          "serve"
          "--config"
          "/etc/${etc}"
        ];
        wants = [ "incus.service" ];
        restartTriggers = [ (builtins.toJSON configuration) ];
        socket = {
          ListenStream = socket;
          SocketGroup = group;
          SocketMode = "0660";
        };
      };
    })
    (lib.mkIf cfg.expiry.enable {
      agency.units.agency-sandbox-expire = common // {
        description = "End the leases of sandboxes that are over";
        command = [
          "sandbox"
          "expire"
        ];
        type = "oneshot";
        timer = {
          OnCalendar = "*:0/5";
          Persistent = true;
        };
        serviceConfig = common.serviceConfig // {
          TimeoutStartSec = "10min";
        };
      };
    })
  ];
}
