#!/bin/sh
# Lays out the root file system of the container image: the binary, the libraries that it is linked with, the CA
# certificates of this machine, and a user. There is no shell and nothing else in it. Run as root.
#   packaging/rootfs.sh BINARY FOLDER
set -eu
binary=$1
root=$2
umask 022

install -D -m 0755 "$binary" "$root/usr/local/bin/tributary"
# `name => /path (address)` for libraries, `/path (address)` for the loader itself. Name resolution is in libc.
ldd "$binary" | awk '$2 == "=>" { print $3 } $1 ~ "^/" { print $1 }' | while read -r library; do
  install -D -m 0755 "$library" "$root$library"
done
test -e "$root$(ldd "$binary" | awk '$1 ~ "^/" { print $1 }')"

mkdir -p "$root/etc/ssl" "$root/etc/tributary" "$root/run" "$root/dev" "$root/proc" "$root/sys"
install -d -m 0700 -o 65532 -g 65532 "$root/var/lib/tributary"
echo 'nonroot:x:65532:65532:nonroot:/var/lib/tributary:/sbin/nologin' > "$root/etc/passwd"
echo 'nonroot:x:65532:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
  install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
fi
for package in libc6 libgcc-s1 ca-certificates; do
  if [ -e "/usr/share/doc/$package/copyright" ]; then
    install -D -m 0644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
  fi
done
