# What the kernel of a node lacks. As NixOS does, a kernel of nixpkgs is trusted, and one that somebody configured is
# asked, where its configuration is known.
{ lib, backend }:
kernel:
let
  config = kernel.config or { };
  isKnown = config ? isEnabled && !(kernel ? features);

  # As a module it would be too late, for these bring modules or speak before there are any.
  builtIn = [
    "BLK_DEV_INITRD"
    "DEVTMPFS"
    "SERIAL_8250_CONSOLE"
    "TMPFS"
  ];

  everywhere = [
    "EROFS_FS"
    "OVERLAY_FS"
    "VIRTIO_BLK"
    "VIRTIO_NET"
  ];

  ofBackend = {
    qemu = [
      "VIRTIO_CONSOLE"
      "VIRTIO_MMIO"
    ];
    firecracker = [
      "VIRTIO_MMIO"
      "VIRTIO_VSOCKETS"
    ];
    cloud-hypervisor = [
      "PVH"
      "VIRTIO_PCI"
      "VIRTIO_VSOCKETS"
    ];
  };

  isYes = config.isYes or config.isEnabled;
  missing =
    builtins.filter (name: !isYes name) builtIn
    ++ builtins.filter (name: !config.isEnabled name) (everywhere ++ ofBackend.${backend});
in
lib.optional (isKnown && missing != [ ]) (
  "boot.kernelPackages: the kernel lacks what a node on `${backend}` needs: "
  + builtins.concatStringsSep ", " (map (name: "CONFIG_${name}") missing)
  + "; set it in `boot.kernelPatches.*.extraStructuredConfig`"
)
