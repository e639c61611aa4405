# The edge: nginx on port 443, before Synapse, with Element's site.
#
# The configuration is NixOS's own for the nginx of Debian 12. What differs from a host's, beside
# places of programs and their files: the number of nginx's user (Debian's group games has NixOS's), the stream
# module, which Debian's nginx loads, one group for key exchange that Debian's OpenSSL does not know,
# and Element itself, which a page stands in for.
{ lib }:
let
  element = "/usr/lib/agency/element";
  number = 260;

  # NixOS writes for the version that it runs.
  package = {
    type = "derivation";
    name = "nginx-1.22.1";
    pname = "nginx";
    version = "1.22.1";
    outPath = "${builtins.storeDir}/${lib.fixedWidthString 32 "0" ""}-nginx-1.22.1";
    meta.mainProgram = "nginx";
    modules = [ ];
    override = _: package;
  };
in
{
  units = [ "nginx.service" ];
  users = [ "nginx" ];
  module =
    { lib, ... }:
    {
      agency.services = {
        element.enable = true;
        edge.enable = true;
      };
      agency.edge.sites.element.root = lib.mkForce element;
      # A part changes no file of the machine's, and this would: who is sent to the page, and its port.
      agency.control.public = false;
      services.nginx = {
        inherit package;
        # It would be built and formatted.
        validateConfigFile = false;
        # Where NixOS's nginx was built to keep them; Debian's would write below /var/lib.
        appendHttpConfig = lib.concatMapStrings (what: "${what}_temp_path /tmp/nginx_${what};\n") [
          "client_body"
          "proxy"
          "fastcgi"
          "uwsgi"
          "scgi"
        ];
        prependConfig = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;";
      };
      # Nobody but the run makes this one, and it brings it encrypted, as an operator does.
      agency.secrets = lib.genAttrs [ "wildcard-certificate" "wildcard-certificate-key" ] (_: {
        class = "A2";
        generator = "external";
      });
      users.users.nginx.uid = lib.mkForce number;
      users.groups.nginx.gid = lib.mkForce number;
    };
  adapted = [
    {
      from = ''Groups "X25519MLKEM768:X25519:'';
      to = ''Groups "X25519:'';
    }
  ];
  machine."usr/lib/agency/element/index.html" = builtins.readFile ./element-stand-in.html;
  # What Element's package is given, on a host that sets nothing else.
  instance."usr/lib/agency/element/config.json" = "{{ generated['matrix/element-config.json'] }}";
}
