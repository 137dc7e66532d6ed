# Two hosts with an sshd each, behind a cable each: network namespaces below one of their own, which this runs in. It
# ends, and the kernel ends all of it, with its standard input.
set -eu
place=$1

host() {
  echo here > "$place/there-$1"
  read -r _ < "$place/cable-$1"
  ip link set lo up
  ip address add "10.77.$1.2/24" dev eth0
  ip link set eth0 up
  "$2" -D -e -f "$place/sshd-$1" &
  wait
  # The host goes on without it. Nobody writes there.
  read -r _ < "$place/never"
}

if [ $# -gt 2 ]; then
  host "$2" "$3"
  exit
fi

# What sshd wants, and nobody else should see.
mount -t tmpfs tmpfs /run
mkdir /run/sshd
mkfifo "$place/never"
for number in 1 2; do
  mkfifo "$place/there-$number" "$place/cable-$number"
  unshare --net sh "$0" "$place" "$number" "$2" &
  read -r _ < "$place/there-$number"
  ip link add "to-$number" type veth peer name eth0 netns $!
  ip address add "10.77.$number.1/24" dev "to-$number"
  ip link set "to-$number" up
  echo plugged > "$place/cable-$number"
done
read -r _
