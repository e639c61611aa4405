# Option types that the modules share.
{ lib }:
let
  inherit (lib) types;
  naming = lib.importJSON ../naming.json;
in
{
  # One word of a command line. The alphabet needs no escaping in a unit file; `%` is systemd's own.
  argument = types.strMatching "[A-Za-z0-9@%:=.,/_+-]+" // {
    description = "a word of letters, digits and @%:=.,/_+-";
  };

  name = types.strMatching naming.name.pattern // {
    description = "1 to ${toString naming.name.most} characters of a-z, 0-9 and inner dashes, beginning with a letter";
  };

  # A CIDR block or an address; names are refused because nftables resolves them only once.
  address = types.strMatching "[0-9a-fA-F.:]+(/[0-9]{1,3})?" // {
    description = "an IP address or a CIDR block";
  };
}
