# Options, one call each: the type's own parameters, the default, and last what it is for.
#
#   enable = opt.service agency.services "element" "Element Web.";
#   leases = opt.between 1 32 2 "Most sandboxes at a time.";
#   issuer = opt.str "https://${host}" "Who may log in." // opt.md "GitLab of the instance";
#
# `md` and `code` say in the reference what a computed default is.
{ lib }:
let
  inherit (lib) mkOption types;

  # A value that must be set.
  must = type: description: mkOption { inherit type description; };
  is =
    type: default: description:
    mkOption { inherit type default description; };
in
rec {
  inherit must is;

  # What a machine decides by itself, for others to read.
  fixed =
    type: default: description:
    is type default description // { readOnly = true; };

  enable = is types.bool false;
  # On where the instance turns the service on.
  service =
    services: name: description:
    is types.bool (services.${name}.enable or false) description
    // md "services.${name}.enable of the instance";

  bool = is types.bool;
  str = is types.str;
  line = is types.singleLineStr;
  path = is types.path;
  port = is types.port;
  package = is types.package;
  between = lowest: highest: is (types.ints.between lowest highest);
  matching = pattern: is (types.strMatching pattern);
  oneOf = values: is (types.enum values);

  # Empty unless set.
  listOf = type: is (types.listOf type) [ ];
  attrsOf = type: is (types.attrsOf type) { };
  nullOr = type: is (types.nullOr type) null;

  md = text: { defaultText = lib.literalMD text; };
  code = text: { defaultText = lib.literalExpression text; };
}
