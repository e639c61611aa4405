# Every option under `agency`, for the options reference.
let
  machine = (import ../.. { }).hosts.agency;
  inherit (machine.pkgs) lib;
  root = toString ../..;
  visible = lib.filter (option: option.visible && !option.internal) (
    lib.optionAttrSetToDocList { inherit (machine.options) agency; }
  );
  # Markdown and Nix literals are kept as their text.
  text = value: if value == null then null else value.text or value;
in
map (option: {
  inherit (option) name readOnly type;
  description = lib.trim (text option.description);
  default = text (option.default or null);
  isCode = (option.default._type or null) == "literalExpression";
  example = text (option.example or null);
  declarations = map (one: lib.removePrefix "${root}/" (toString one)) option.declarations;
}) visible
