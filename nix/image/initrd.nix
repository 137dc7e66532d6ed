# What a machine starts with: the agent, and the modules that it takes to find a root. The system's own initrd is
# never made.
{ build }:
{
  kernel,
  file,
  modules,
  # The directory of its modules, where it is known: else it is looked for.
  release ? null,
}:
build {
  name = "attest-initrd";
  args = [
    "image"
    "initrd"
    "--kernel"
    "${kernel}/${file}"
    "--modules"
    "${modules}/lib/modules${if release == null then "" else "/${release}"}"
    "--output"
    "${placeholder "out"}/initrd"
  ];
  forgetReferences = true;
}
