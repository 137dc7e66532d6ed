#!/bin/sh
# What the scripts that run suites without a driver have in common: it goes before each of them.
set -eu

# A command that succeeds, and what its output is like.
says() {
    said=$(eval "$1") || { echo "failed: $1" >&2; exit 1; }
    has "$1" "$2"
}

# The same of one that fails.
refuses() {
    if said=$(eval "$1"); then
        echo "did not fail: $1" >&2
        exit 1
    fi
    has "$1" "$2"
}

has() {
    case $said in
    *$2*) ;;
    *)
        echo "\`$1\` says no \`$2\`, but: $said" >&2
        exit 1
        ;;
    esac
}

until_succeeds() {
    until eval "$1" > /dev/null 2>&1; do
        sleep 0.05
    done
}

# From now on, what other machines tell is heard, a word a line.
listen() {
    mkfifo /tmp/told
    exec 3<> /tmp/told
    nc -dlk 7000 > /tmp/told &
    trap "kill $!" EXIT
    heard=
}

# Tell a machine a word.
tell() {
    until echo "$2" | nc -N "$1" 7000; do sleep 0.05; done
}

# Wait until all of these words were told.
await() {
    for word in "$@"; do
        until case " $heard " in *" $word "*) true ;; *) false ;; esac do
            read -r line <&3
            heard="$heard $line"
        done
    done
}

# Wait until it succeeds.
soon() {
    until "$@" > /dev/null 2>&1; do sleep 0.05; done
}

# Wait until it fails.
over() {
    while "$@" > /dev/null 2>&1; do sleep 0.05; done
}

fails() {
    if "$@"; then
        echo "$* succeeded" >&2
        exit 1
    fi
}

is() {
    if [ "$1" != "$2" ]; then
        echo "$1, where $2 was expected" >&2
        exit 1
    fi
}
