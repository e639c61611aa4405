# Units of the distribution as plain files for a machine without Nix.
#
# One rule maps a path into the store: what is a text of NixOS's own making (a script of a unit, a
# configuration file) becomes a file that is exported beside the unit, under its own name; what lies
# in a package lies at the same place below the directory that the machine has for that package,
# which is /usr unless `packages` names another. A path that is neither ends the evaluation.
# Where a package of the machine keeps something elsewhere, `moved` says so.
{ lib }:
let
  storePath = "${builtins.storeDir}/[0-9a-z]{32}-[A-Za-z0-9+._?=-]+";
  discard = builtins.unsafeDiscardStringContext;

  # The name of what a store path holds, without its hash.
  nameOf = path: builtins.substring (builtins.stringLength builtins.storeDir + 34) (-1) path;

  isText = path: builtins.pathExists path && builtins.readFileType path == "regular";

  # Every store path in a text.
  pathsIn =
    text:
    lib.unique (map lib.head (lib.filter lib.isList (builtins.split "(${storePath})" (discard text))));

  # Stands for a derivation whose output is one text file, wherever the derivation would put it.
  textFile =
    {
      name,
      text,
      ...
    }:
    let
      self = {
        type = "derivation";
        inherit name text;
        outPath = discard (builtins.toFile name (discard text));
        meta.mainProgram = name;
        overrideAttrs = _: self;
      };
    in
    self;
  script = text: "#!/usr/bin/bash\n${text}";
in
{
  # `pkgs` whose functions that write a text keep it where an evaluation can read it. Evaluate with
  # --read-write-mode: the texts are kept in the store.
  readable =
    pkgs:
    pkgs
    // {
      writeTextFile = textFile;
      writeText = name: text: textFile { inherit name text; };
      # A directory that holds the one file.
      writeTextDir =
        path: text:
        textFile {
          name = baseNameOf path;
          inherit text;
        };
      writeShellScript =
        name: text:
        textFile {
          inherit name;
          text = script text;
        };
      writeShellScriptBin =
        name: text:
        textFile {
          inherit name;
          text = script text;
        };
      # JSON is YAML.
      formats = pkgs.formats // {
        yaml =
          options:
          pkgs.formats.yaml options
          // {
            generate =
              name: value:
              textFile {
                inherit name;
                text = builtins.toJSON value + "\n";
              };
          };
      };
    };

  # texts: path -> text. Gives path -> text with no path into the store, and in it what the texts
  # need, at `directory`. packages: list of { prefix, directory, moved }, by the beginning of their
  # names; moved: the beginning of a path in the package -> its place on the machine.
  export =
    {
      directory,
      packages,
    }:
    texts:
    let
      closure = builtins.genericClosure {
        startSet = map (key: { inherit key; }) (
          lib.filter isText (lib.concatMap pathsIn (lib.attrValues texts))
        );
        operator =
          one: map (key: { inherit key; }) (lib.filter isText (pathsIn (builtins.readFile one.key)));
      };
      own = map (one: one.key) closure;
      names = map nameOf own;
      packageOf = path: lib.findFirst (package: lib.hasPrefix package.prefix (nameOf path)) { } packages;
      placed =
        package: rest:
        let
          moved = package.moved or { };
          from = lib.findFirst (from: lib.hasPrefix from rest) null (lib.attrNames moved);
        in
        if from == null then
          (package.directory or "/usr") + rest
        else
          moved.${from} + lib.removePrefix from rest;

      mapped =
        text:
        lib.concatMapStrings (
          part:
          if lib.isString part then
            part
          else
            let
              path = lib.elemAt part 0;
              rest = lib.elemAt part 1;
            in
            if isText path then
              "/${directory}/${nameOf path}"
            else if rest == null then
              throw "portable: ${path} is not a file of a package"
            else
              placed (packageOf path) rest
        ) (builtins.split "(${storePath})(/[A-Za-z0-9+._/-]*)?" (discard text));
      # Where packages shared a path, it would now be named many times.
      searchPath =
        line:
        let
          found = builtins.match "Environment=\"PATH=(.*)\"" line;
        in
        if found == null then
          line
        else
          "Environment=\"PATH=${lib.concatStringsSep ":" (lib.unique (lib.splitString ":" (lib.head found)))}\"";
      finish = text: lib.concatMapStringsSep "\n" searchPath (lib.splitString "\n" (mapped text));
    in
    assert lib.assertMsg (lib.allUnique names) "portable: two texts have one name: ${toString names}";
    lib.mapAttrs (_: finish) (
      texts
      // lib.listToAttrs (
        map (path: lib.nameValuePair "${directory}/${nameOf path}" (builtins.readFile path)) own
      )
    );
}
