#!/usr/bin/env bash
# Tries the units under a real systemd: a small Debian is booted in a container and Tributary installed in it as
# docs/install.md says. Part of a release, not of CI, as it downloads a Debian (once, when FOLDER is given and kept).
# Needs root, debootstrap and systemd-nspawn (package systemd-container); two to four minutes.
#   packaging/try-units.sh BINARY [FOLDER]
set -euo pipefail
binary=$(realpath "$1")
repository=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d)
debian=${2:-$work/debian}
trap 'kill -KILL $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
say() { printf '\n== %s\n' "$*"; }

[ -e "$debian/etc/debian_version" ] || debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps bookworm "$debian"
rm -rf "$debian"/{etc/tributary,root/*,var/lib/tributary,var/lib/private/tributary,var/log/journal,etc/systemd/system/tributary*}
install -m 0755 "$binary" "$debian/usr/local/bin/tributary"
install -m 0644 "$repository"/systemd/tributary* "$debian/etc/systemd/system/"
install -d -m 0700 "$debian/etc/tributary" "$debian/etc/tributary/secrets"
chmod 0755 "$debian/etc/tributary"
echo '127.0.0.1 localhost' > "$debian/etc/hosts"
for unit in tributary tributary-once; do
  mkdir "$debian/etc/systemd/system/$unit.service.d"
  printf '[Service]\nLoadCredential=dtrack:/etc/tributary/secrets/dtrack\n' > "$debian/etc/systemd/system/$unit.service.d/credentials.conf"
done

systemd-nspawn --directory="$debian" --register=no --keep-unit --boot --console=pipe --private-network > "$work/boot.log" 2>&1 &
nspawn=$!
inside() {
  nsenter -t "$(pgrep -P "$nspawn")" -m -u -i -p -n -r -w env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"
}
property() { inside systemctl show -p "$1" --value "${2:-tributary.service}"; }
# within SECONDS COMMAND…
within() {
  local left=$1; shift
  until "$@"; do left=$((left - 1)); test "$left" -gt 0 || { echo "not within the time: $*"; return 1; }; sleep 1; done
}
is_up() { inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; }
is_ready() { test "$(property ActiveState)" = active; }
has_another_process() { test "$(property MainPID)" != "$1" && is_ready; }
within 60 is_up
inside systemctl --version | head -1

say "a simulated Dependency-Track"
inside systemd-run --quiet --unit=simulators tributary demo --findings 20000 --store /root/demo.db
within 60 test -e "$debian/root/demo.demo.json"
port=$(sed 's/.*"dependency_track":\([0-9]*\).*/\1/' "$debian/root/demo.demo.json")
(umask 077; echo odt_SimKey01_9f8e7d6c5b4a39281706f5e4d3c2b1a0 > "$debian/etc/tributary/secrets/dtrack")
cat > "$debian/etc/tributary/tributary.toml" <<EOT
[connections.dtrack]
connector = "dependency_track"
location = "http://localhost:$port"
secret = { credential = "dtrack" }
EOT
inside tributary config validate
inside env CREDENTIALS_DIRECTORY=/etc/tributary/secrets tributary check

say "the daemon: ready, unprivileged, private"
inside systemctl start tributary.service
inside systemctl status tributary.service --no-pager
synced() { inside tributary operations list -o csv | grep -q ',sync,schedule,success,'; }
within 60 synced
inside grep -q 'CapBnd:.0000000000000000' "/proc/$(property MainPID)/status"
user=$(inside stat -c %u "/proc/$(property MainPID)")
test "$user" != 0
test "$(inside stat -c '%a %u' /var/lib/private/tributary /var/lib/tributary/tributary.db | tr '\n' ' ')" = "700 $user 600 $user "

inside tributary health --ready
inside tributary status

say "a reload: a changed configuration is taken, an invalid one is not"
cp "$debian/etc/tributary/tributary.toml" "$work/good.toml"
main=$(property MainPID)
echo 'label = "changed"' >> "$debian/etc/tributary/tributary.toml"
inside systemctl reload tributary.service
within 10 is_ready
echo 'nonsense = 1' >> "$debian/etc/tributary/tributary.toml"
inside systemctl reload tributary.service || true
within 10 is_ready
test "$(property MainPID)" = "$main"
cp "$work/good.toml" "$debian/etc/tributary/tributary.toml"
inside systemctl reload tributary.service
inside journalctl -u tributary.service --no-pager -n 12

say "killed, and hanging: started again"
main=$(property MainPID)
inside kill -KILL "$main"
within 30 has_another_process "$main"
main=$(property MainPID)
inside kill -STOP "$main"
within 120 has_another_process "$main"
inside journalctl -u tributary.service --no-pager | grep 'Watchdog timeout'

say "killed and stopped at random moments while it syncs all the time"
printf '[defaults]\nsync = { every = "1s" }\ndiscover = { every = "1s" }\n' | cat - "$work/good.toml" > "$debian/etc/tributary/tributary.toml"
inside systemctl restart tributary.service
for round in 1 2 3 4 5 6 7 8 9 10; do
  sleep "$((RANDOM % 3)).$((RANDOM % 1000))"
  main=$(property MainPID)
  inside kill -KILL "$main"
  within 30 has_another_process "$main"
  sleep "$((RANDOM % 3)).$((RANDOM % 1000))"
  began=$SECONDS
  inside systemctl stop tributary.service
  test "$(property Result) $(property ExecMainStatus)" = 'success 0'
  test "$((SECONDS - began))" -le 20
  inside systemctl start tributary.service
done
cp "$work/good.toml" "$debian/etc/tributary/tributary.toml"
inside systemctl restart tributary.service
inside tributary db check
inside tributary operations list -o csv | cut -d, -f5 | sort | uniq -c

say "a backup beside it, a stop, a restore"
inside tributary db backup /root/backup.db
test "$(inside stat -c %a /root/backup.db)" = 600
inside systemctl stop tributary.service
test "$(property Result) $(property ExecMainStatus)" = 'success 0'
inside sh -c 'rm /var/lib/tributary/tributary.db*'
inside tributary db restore /root/backup.db
inside chown -R --reference=/var/lib/tributary/ /var/lib/tributary/
inside systemctl start tributary.service
inside systemctl stop tributary.service

say "an invalid configuration: no restart"
echo 'nonsense = 1' | cat - "$work/good.toml" > "$debian/etc/tributary/tributary.toml"
! inside systemctl start tributary.service 2>/dev/null
sleep 7
test "$(property ActiveState) $(property ExecMainStatus) $(property NRestarts)" = 'failed 78 0'
cp "$work/good.toml" "$debian/etc/tributary/tributary.toml"

say "once, on the same database"
# The first one ends what a stop interrupted, the second one reads everything.
inside systemctl start tributary-once.service
inside systemctl start tributary-once.service
test "$(property Result tributary-once.service)" = success
inside journalctl -u tributary-once.service --no-pager | grep 'created 0 + updated 0 + unchanged 20000'
inside systemctl enable --quiet --now tributary-once.timer
inside systemctl list-timers tributary-once.timer --no-pager | sed -n 1,2p

say "all well"
inside systemctl poweroff
wait "$nspawn"
