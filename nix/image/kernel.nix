# The kernel in the form that every VMM starts, taken out of the bzImage: `kernel.dev`, which has a vmlinux too,
# would bring compilers along.
{ build }:
{ kernel, file }:
build {
  name = "attest-kernel";
  args = [
    "image"
    "kernel"
    "${kernel}/${file}"
    "--output"
    "${placeholder "out"}/vmlinux"
  ];
  forgetReferences = true;
}
