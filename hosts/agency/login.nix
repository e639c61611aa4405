# Refusals that keep an operator from being locked out: a switch after which nobody can log in, and
# a switch to the example instance.
{ config, lib, ... }:
let
  opt = import ../../modules/lib/options.nix { inherit lib; };
  cfg = config.agency;
  ssh = config.services.openssh;

  mayLogIn = hash: hash != null && !lib.hasPrefix "!" hash && !lib.hasPrefix "*" hash;
  # Initial passwords are none: they are for accounts that a machine does not have yet.
  hasPassword =
    user: mayLogIn user.hashedPassword || user.password != null || user.hashedPasswordFile != null;
  hasKey =
    user: user.openssh.authorizedKeys.keys != [ ] || user.openssh.authorizedKeys.keyFiles != [ ];
  isAdmin =
    name: user:
    name == "root"
    || (user.isNormalUser && (user.group == "wheel" || lib.elem "wheel" user.extraGroups));
  rootMay =
    !lib.elem ssh.settings.PermitRootLogin [
      "no"
      "forced-commands-only"
    ];
  reaches = name: user: ssh.enable && hasKey user && (name != "root" || rootMay);
  admins = lib.filterAttrs (_: user: user.enable) (lib.filterAttrs isAdmin config.users.users);
  canLogIn = lib.any lib.id (
    lib.mapAttrsToList (name: user: hasPassword user || reaches name user) admins
  );

  # A top-level domain that nobody can have (RFC 2606, section 2).
  isExample = lib.hasSuffix ".example" cfg.domain;
in
{
  options.agency.acceptExample = opt.bool false "Whether this host may be that of an example instance. Only tests set it: a machine that switched to it would stop its services.";

  config = {
    # The assertion below asks for more.
    users.allowNoPasswordLogin = true;

    assertions = [
      {
        assertion = canLogIn;
        message = ''
          agency.operatorKeys: nobody could log in to this machine, neither by SSH nor at the console.
          Set agency.operatorKeys in the instance's host.nix, or give root or a member of wheel a password.
        '';
      }
      {
        assertion = !isExample || cfg.acceptExample;
        message = ''
          agency.instance: ${cfg.domain} is the domain of an example, and this is a real machine.
          Switch from your instance's own flake (`nixos-rebuild switch --flake .#agency`); `agency init` makes one.
        '';
      }
    ];
  };
}
