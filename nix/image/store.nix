# One image with the closures of all nodes, which every machine of a test has below its root. What refers to it has
# one path in its sandbox, not a thousand.
{ build }:
{
  name,
  roots,
  # Megabytes; null is no limit.
  atMost ? null,
  # Whose limit that is.
  limitOf ? null,
}:
build {
  name = "attest-store-${name}";
  args = [
    "image"
    "store"
    # Nix lists the closure there, in the directory where the builder begins, with all that it knows of it.
    "--closure"
    ".attrs.json"
    "--output"
    "${placeholder "out"}/store.erofs"
  ]
  ++ (
    if atMost == null then
      [ ]
    else
      [
        "--at-most"
        "${toString atMost}M"
        "--limit-of"
        limitOf
      ]
  );
  forgetReferences = true;
  attributes.exportReferencesGraph.closure = roots;
}
