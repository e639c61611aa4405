# The backup, to a directory of the guest: its settings, its secret, and the place.
#
# The units are those of every machine. Nothing is started: the run makes its backup when it wants
# one, and a guest does not live until the timers' times.
_:
let
  place = "/var/backup/agency";
in
{
  units = [ ];
  users = [ ];
  module.agency = {
    backup = {
      enable = true;
      repository = "${place}/repository";
    };
    # The example's instance has no backup, and the run's has one.
    secrets.backup-password = {
      class = "A2";
      generator = "token";
    };
  };
  adapted = [ ];
  # On a host, somebody mounts a disk there.
  machine."usr/lib/tmpfiles.d/agency-backup.conf" = "d ${place} 0700 root root - -\n";
  instance = { };
}
