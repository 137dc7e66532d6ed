# What the driver of NixOS's tests talks to: a root shell on a console of its own.
{ pkgs, ... }:
{
  systemd.services.backdoor = {
    wantedBy = [ "multi-user.target" ];
    environment.USER = "root";
    environment.HOME = "/root";
    script = ''
      cd /tmp
      exec < /dev/hvc0 > /dev/hvc0 2> /dev/ttyS0
      echo "connecting to host..." >&2
      stty -F /dev/hvc0 raw -echo
      echo "Spawning backdoor root shell..."
      PS1="" exec ${pkgs.bash}/bin/bash --norc /dev/hvc0
    '';
  };
}
