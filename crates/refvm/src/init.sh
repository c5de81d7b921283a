#!/bin/busybox sh
# First program of the virtual machine. Builds a root file system of the host's files (9p, read-only) under a throw-away
# overlay, and goes on in it with /ctl/boot, which the host wrote for this run.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod "/modules/$module"; done

ninep=trans=virtio,version=9p2000.L,msize=262144
mkdir -p /lower /upper /merged
mount -t 9p -o $ninep,cache=loose,ro host /lower || poweroff -f
mount -t tmpfs -o size=75% tmpfs /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /merged || poweroff -f

for folder in proc sys dev run tmp lib/modules host ctl out; do mkdir -p /merged/$folder; done
mount -t proc proc /merged/proc
mount -t sysfs sys /merged/sys
mount -t bpf bpf /merged/sys/fs/bpf
mount -t cgroup2 cgroup2 /merged/sys/fs/cgroup
mount -t devtmpfs dev /merged/dev
mkdir -p /merged/dev/shm /merged/dev/pts
mount -t tmpfs tmpfs /merged/dev/shm
mount -t devpts devpts /merged/dev/pts
mount -t tmpfs tmpfs /merged/run
mkdir -p /merged/run/netns /merged/run/lock
mount --bind /lower /merged/host
mount -t 9p -o $ninep ctl /merged/ctl || poweroff -f
mount -t 9p -o $ninep out /merged/out || poweroff -f
# As process 1, so that the kernel's own calls of modprobe see this root.
exec chroot /merged /bin/sh /ctl/boot
