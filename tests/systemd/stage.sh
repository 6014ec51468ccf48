# Sourced by bash scripts: a machine in namespaces of its own that the real systemd boots as pid 1, with journald and
# nothing else. Its root is a file system of this machine under an overlay in memory: whatever is written there is
# gone at the end. It needs root's rights to make namespaces, cgroups and mounts.
#
#   stage_possible           0, or says on standard output what is missing
#   stage_begin LOWER        boots LOWER ("/": this machine); beforehand calls stage_furnish ROOT, where defined
#   stage COMMAND...         runs a command in it
#   stage_end                ends it and leaves nothing behind; also at exit

stage_folder= stage_unshare= stage_pid=
stage_group=buddyd-stage-$$

# Where this machine has the hierarchies that systemd keeps its groups in.
stage_hierarchies() {
  awk '$3 == "cgroup2" || ($3 == "cgroup" && $4 ~ /name=systemd/) { print $2 }' /proc/self/mounts
}

stage_possible() {
  [ "$(id -u)" = 0 ] || { echo "not root"; return 1; }
  [ -x /lib/systemd/systemd ] || { echo "no systemd"; return 1; }
  local hierarchy
  hierarchy=$(stage_hierarchies | head -n 1)
  [ -n "$hierarchy" ] && [ -w "$hierarchy/cgroup.procs" ] || { echo "no cgroups that can be written"; return 1; }
  mkdir "$hierarchy/$stage_group" 2>/dev/null || { echo "cgroups cannot be made"; return 1; }
  rmdir "$hierarchy/$stage_group"
  grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || { echo "no overlay file system"; return 1; }
  unshare -C -m -p -f -u -n -i mount -t proc proc /proc 2>/dev/null || { echo "no namespaces may be made"; return 1; }
}

# As pid 1 of the new namespaces.
stage_inside() { # LOWER
  local root=$stage_folder/root device
  mount --make-rprivate /
  mount -t tmpfs -o mode=755 stage "$stage_folder"
  mkdir "$stage_folder"/{upper,work,root}
  mount -t overlay -o "lowerdir=$1,upperdir=$stage_folder/upper,workdir=$stage_folder/work" overlay "$root"
  mount -t proc proc "$root/proc"
  mount --bind "$root/proc/sys" "$root/proc/sys"
  mount -o remount,bind,ro "$root/proc/sys"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  mkdir "$root/dev/shm" "$root/dev/pts"
  mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"
  if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  else
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup"/{unified,systemd}
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
  fi

  # Of all units those remain that are asked for.
  rm -rf "$root"/etc/systemd/system/* "$root"/usr/lib/systemd/system/*.wants "$root"/lib/systemd/system/*.wants \
    "$root"/usr/lib/systemd/system-generators "$root"/lib/systemd/system-generators "$root"/etc/fstab \
    "$root"/var/log/journal
  mkdir "$root/etc/systemd/system/basic.target.wants"
  ln -s /lib/systemd/system/systemd-journald.service "$root/etc/systemd/system/basic.target.wants/"
  tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
  if declare -F stage_furnish >/dev/null; then
    stage_furnish "$root"
  fi

  cd "$root"
  mkdir -p mnt
  pivot_root . mnt
  umount -l mnt
  exec env -i container=stage PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=no
}

stage() { # COMMAND...
  nsenter --target "$stage_pid" --all env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"
}

stage_begin() { # LOWER
  stage_folder=$(mktemp -d "${TMPDIR:-/tmp}/buddyd-stage.XXXXXX")
  trap stage_end EXIT
  trap 'exit 130' INT TERM HUP
  local hierarchy deadline=$((SECONDS + 60))
  export stage_folder
  export -f stage_inside
  ! declare -F stage_furnish >/dev/null || export -f stage_furnish
  for hierarchy in $(stage_hierarchies); do
    mkdir "$hierarchy/$stage_group"
  done
  (
    for hierarchy in $(stage_hierarchies); do
      echo "$BASHPID" >"$hierarchy/$stage_group/cgroup.procs"
    done
    exec unshare -C -m -p -f -u -n -i --kill-child bash -euc 'stage_inside "$1"' stage "$1"
  ) </dev/null >"$stage_folder.log" 2>&1 &
  stage_unshare=$!
  until stage_pid=$(cat "/proc/$stage_unshare/task/$stage_unshare/children" 2>/dev/null) && [ -n "$stage_pid" ] &&
    stage_pid=${stage_pid% } && [ "$(readlink "/proc/$stage_pid/exe")" = "$(readlink -f /lib/systemd/systemd)" ] &&
    stage systemctl is-active --quiet basic.target systemd-journald.service 2>/dev/null; do
    kill -0 "$stage_unshare" 2>/dev/null && [ $SECONDS -lt $deadline ] || {
      cat "$stage_folder.log" >&2
      echo "systemd does not boot" >&2
      return 1
    }
    sleep 0.05
  done
}

stage_end() {
  local status=$? hierarchy
  trap - EXIT
  if [ -n "$stage_unshare" ]; then
    kill -KILL "$stage_unshare" 2>/dev/null || true
    wait "$stage_unshare" 2>/dev/null || true
  fi
  for hierarchy in $(stage_hierarchies); do
    [ ! -d "$hierarchy/$stage_group" ] || stage_group_remove "$hierarchy/$stage_group"
  done
  rm -rf "$stage_folder" "$stage_folder.log"
  stage_unshare= stage_pid=
  return $status
}

# What ran in it may take a moment to be gone.
stage_group_remove() { # GROUP
  local tries
  for tries in $(seq 100); do
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ -d "$1" ] || return 0
    sleep 0.05
  done
}
