# The agency: one Python application, every dependency from nixpkgs.
{ lib, python3Packages }:
let
  root = ../..;
  inherit (builtins.fromTOML (builtins.readFile (root + "/pyproject.toml"))) project;
  # `name[extra]>=1` to `name`; nixpkgs names packages in the normalised form that PyPI uses.
  requirementName = requirement: builtins.head (builtins.match "([A-Za-z0-9._-]+).*" requirement);
  packageOf = requirement: python3Packages.${requirementName requirement};
  # All that an agency on a machine needs. The other extras are for guests, local runs and tests; an
  # extra that contains another names the package itself.
  inherit (project) optional-dependencies;
  requirements = builtins.filter (requirement: requirementName requirement != project.name) (
    project.dependencies ++ optional-dependencies.full ++ optional-dependencies.postgresql
  );
in
python3Packages.buildPythonApplication {
  pname = project.name;
  inherit (project) version;
  pyproject = true;

  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions [
      (root + "/pyproject.toml")
      (root + "/setup.py")
      (root + "/secrets/catalogue.json")
      (root + "/LICENSE")
      (lib.fileset.maybeMissing (root + "/README.md"))
      (lib.fileset.fileFilter (
        file:
        lib.any file.hasExt [
          "py"
          "j2"
          "json"
          "ini"
          "mako"
          "pyi"
        ]
        || file.name == "py.typed"
      ) (root + "/pyscripts"))
    ];
  };

  build-system = [ python3Packages.setuptools ];
  dependencies =
    map packageOf requirements ++ python3Packages.sqlalchemy.optional-dependencies.asyncio;

  pythonImportsCheck = [ "agency.cli" ];

  meta = {
    inherit (project) description;
    license = lib.licenses.asl20;
    mainProgram = "agency";
    platforms = lib.platforms.linux;
  };
}
