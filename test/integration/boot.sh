#!/bin/sh
# Boots systemd in namespaces of its own, on a root that is made for it and gone with it:
#   boot.sh SCRATCH GROUP REPOSITORY NODE_PREFIX
#
# SCRATCH       a directory to mount things in, nothing of which is seen from outside
# GROUP         name of the control group, below the root of the hierarchy, that everything runs in; it stays, empty
# REPOSITORY    seen inside as /repository, SCRATCH/given as /given, and NODE_PREFIX (which has bin/node) at its own
#               path; none of them can be written there
#
# Runs in three stages, each exec'ing the next. The root has nothing of this machine that can be written: a systemd that
# boots runs systemd-tmpfiles, which empties /tmp, systemd-sysctl, which sets the kernel, and what else is installed.
# Before it starts that is proved from the mount table, whatever the lines above it did.
set -eu

if [ "$1" != inner ]; then
  if [ "$1" != grouped ]; then exec unshare --mount --propagation private -- /bin/sh "$0" grouped "$@"; fi
  # Version 2 of control groups is one hierarchy, wherever it is mounted.
  mkdir "$2/groups"
  mount -t cgroup2 none "$2/groups"
  mkdir "$2/groups/$3"
  echo $$ > "$2/groups/$3/cgroup.procs"
  umount "$2/groups"
  rmdir "$2/groups"
  shift
  # The control group namespace begins at the group of whoever unshares.
  exec unshare --pid --fork --kill-child --ipc --uts --net --cgroup -- /bin/sh "$0" inner "$@"
fi
shift
scratch=$1 repository=$3 prefix=$4

root=$scratch/root
mkdir "$root"
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/before"

readable() {
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  mount -o remount,bind,ro "$root$2"
}
readable /usr /usr
for link in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$link" ]; then cp -P "/$link" "$root/$link"; elif [ -d "/$link" ]; then readable "/$link" "/$link"; fi
done
case $prefix in /usr | /usr/*) ;; *) readable "$prefix" "$prefix" ;; esac
readable "$repository" /repository
readable "$scratch/given" /given

mkdir -p "$root/etc" "$root/var/lib" "$root/home" "$root/opt" "$root/srv" "$root/mnt"
mkdir -m 700 "$root/root"
mkdir -m 1777 "$root/tmp" "$root/var/tmp"
cp /etc/ld.so.cache "$root/etc/"
printf '%s\n' 'root:x:0:0::/root:/bin/sh' 'ann:x:1000:1000::/home/ann:/bin/sh' 'nobody:x:65534:65534::/:/bin/false' \
  > "$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'ann:x:1000:' 'nogroup:x:65534:' > "$root/etc/group"
printf '%s\n' 'passwd: files' 'group: files' > "$root/etc/nsswitch.conf"
mkdir -m 700 "$root/home/ann"
chown 1000:1000 "$root/home/ann"
# Without one systemd takes this for the first boot of the machine.
tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"

mkdir "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0' 'fuse 10 229'; do
  # shellcheck disable=SC2086
  set -- $node
  mknod -m 666 "$root/dev/$1" c "$2" "$3"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"

mkdir "$root/proc" "$root/sys"
mount -t proc proc "$root/proc"
for part in sys sysrq-trigger; do
  if [ ! -e "$root/proc/$part" ]; then continue; fi
  mount --bind "$root/proc/$part" "$root/proc/$part"
  mount -o remount,bind,ro "$root/proc/$part"
done
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"

cd "$root"
pivot_root . before
umount -l /before
rmdir /before
cd /

# proc(5), mountinfo: the sixth word is the options of the mount; the type follows a hyphen.
strange=
while read -r _ _ _ _ point options rest; do
  case $options in ro | ro,*) continue ;; esac
  case " $rest" in *' - tmpfs '* | *' - proc '* | *' - devpts '* | *' - cgroup2 '*) continue ;; esac
  strange="$strange $point"
done < /proc/self/mountinfo
if [ -n "$strange" ] || [ -e "$scratch" ]; then
  echo "not booted: something of the machine can be written:$strange" >&2
  exit 1
fi

# Nor the kernel: no module, no clock, no ports, no log.
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=kitfs-test \
  setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog,-mac_admin,-mac_override -- \
  /lib/systemd/systemd --system --unit=basic.target --show-status=no --log-target=console
