#!/bin/bash
# Somebody at the screen and the keyboard.
export USER=root HOME=/root TERM=linux
cd /root
exec < /dev/tty1 > /dev/tty1 2>&1
stty sane
PS1='root@\h:\w# ' exec bash --norc -i
