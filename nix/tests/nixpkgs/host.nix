# What stands in `/host` of the sandbox: the tests write a file like this one, with digests, so that
# another program makes other derivations.
{
  attest = "none";
  busybox = "none";
  bash = "none";
  kernel = "none";
  release = "6.1.0";
}
