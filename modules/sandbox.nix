# Sandboxes: leased throwaway machines for code that nobody has read yet. One service of the host
# makes them, so that who asks for one needs neither Docker nor KVM; leases end by a timer.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
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
    enable =
      opt.bool (
        agency.services.gitlab.enable or false && allows agency.preview "sandbox"
      ) "The service that makes sandboxes."
      // opt.md "whether the instance runs GitLab, and the program is there or previewed";
    expiry.enable =
      opt.bool cfg.enable "The timer that ends leases, those that root makes by hand too."
      // opt.md "whether the service runs";
    ttl =
      opt.matching "[0-9]{1,6}[smhd]" "4h"
        "After how long the sandbox of a merge request is destroyed, whoever uses it.";
    leases = opt.between 1 32 2 "Most sandboxes at a time. Further requests are refused.";
    memoryMb = opt.between 1024 65536 2048 "Memory of one sandbox, in MiB.";
    cpus = opt.between 1 64 2 "Processors of one sandbox.";
    group = opt.fixed types.str group "Group whose members may ask for a sandbox.";
    socket = opt.fixed types.str socket "Where they ask.";
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
