#!/bin/sh
# linux_checks.sh - what the tests look at from inside a Linux guest (/checks in its initrd).
#
# shellcheck shell=dash
# shellcheck disable=SC2317	# each function is called by its name
#
# /checks WORD...: each word is NAME or NAME:ARGUMENT,ARGUMENT... What a check prints stands between two lines
# of its own, which is how tests/vm/lab_suite.py finds it, and judges it. Those of emulated cards are in nic_checks.sh.

host=10.0.0.1

boot()
{
	echo "kernel=$(uname -r) cpus=$(nproc)"
	grep -E '^MemTotal' /proc/meminfo
}

lspci_vv()
{
	lspci -vv -n 2> /dev/null
}

driver()
{
	ethtool -i eth0
	ethtool -k eth0
}

# What each virtio driver has negotiated: a digit for each bit, from bit 0 on.
features()
{
	local device
	for device in /sys/bus/virtio/devices/*; do
		echo "$(basename "$(readlink "$device/driver")") $(cat "$device/features")"
	done
}

interrupts()
{
	cat /proc/interrupts
}

clock()
{
	cat /sys/devices/system/clocksource/clocksource0/current_clocksource \
		/sys/devices/system/clocksource/clocksource0/available_clocksource
	dmesg | grep -iE 'tsc|kvm-clock'
}

# Which clock source to use, and whether time goes on with it.
clocksource()
{
	local before
	echo "$1" > /sys/devices/system/clocksource/clocksource0/current_clocksource || return
	cat /sys/devices/system/clocksource/clocksource0/current_clocksource
	read -r before _ < /proc/uptime
	sleep 1
	read -r after _ < /proc/uptime
	echo "before=$before after=$after"
	dmesg | grep -iE "$1.*unstable|unstable.*$1" || true
}

topology()
{
	local cpu
	for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
		echo "${cpu##*/} package=$(cat "$cpu/topology/physical_package_id")" \
			"core=$(cat "$cpu/topology/core_id")" \
			"siblings=$(cat "$cpu/topology/thread_siblings_list")" \
			"online=$(cat "$cpu/online" 2>/dev/null || echo 1)"
	done
	grep -E '^(processor|physical id|core id|cpu cores|siblings|model name)' /proc/cpuinfo
}

ping_host()
{
	ping -c "${1:-3}" -W 10 "${2:-$host}"
}

# TCP of so many MiB to the host, and from it.
iperf()
{
	TMPDIR=/dev/shm iperf3 -c $host -n "$1M" -f m &&
		TMPDIR=/dev/shm iperf3 -c $host -n "$1M" -f m -R
}

# TCP to the host for so many seconds, and from it.
iperf_seconds()
{
	TMPDIR=/dev/shm iperf3 -c $host -t "$1" -f m -i 0 &&
		TMPDIR=/dev/shm iperf3 -c $host -t "$1" -f m -i 0 -R
}

# For so many seconds, both ways at once; what it says at the end doesn't matter.
traffic()
{
	TMPDIR=/dev/shm iperf3 -c $host -t "$1" -f m --bidir -P 2 -i 0
	true
}

# Writes the first MiB of the disk, so many, then reads them, past the page cache.
# The next so many MiB are what the host put there.
disk()
{
	local disk=/dev/vda written again
	dd if=/dev/urandom of=/dev/shm/data bs=1M count="$1" 2>&1 &&
		dd if=/dev/shm/data of=$disk bs=1M conv=fsync 2>&1 || return
	written=$(sha256sum < /dev/shm/data)
	rm /dev/shm/data
	echo 3 > /proc/sys/vm/drop_caches
	again=$(dd if=$disk bs=256k iflag=direct count=$(($1 * 4)) 2> /dev/null | sha256sum)
	echo "written=${written%% *}"
	echo "again=${again%% *}"
	again=$(dd if=$disk bs=1M skip="$1" count="$1" 2> /dev/null | sha256sum)
	echo "hosts=${again%% *}"
	echo "size=$(cat /sys/block/vda/size) serial=$(cat /sys/block/vda/serial)"
}

# Writes by several processes at once, each to a MiB of its own behind the first $1.
disk_parallel()
{
	local disk=/dev/vda i
	dd if=/dev/urandom of=/dev/shm/data bs=1M count=8 2> /dev/null
	for i in 0 1 2 3 4 5 6 7; do
		dd if=/dev/shm/data of=$disk bs=4k skip=$((i * 256)) seek=$((($1 + i) * 256)) \
			count=256 oflag=direct 2> /dev/null &
	done
	wait
	sync
	echo "written=$(sha256sum < /dev/shm/data | cut -d ' ' -f 1)"
	echo "again=$(dd if=$disk bs=1M skip="$1" count=8 iflag=direct 2> /dev/null |
		sha256sum | cut -d ' ' -f 1)"
	rm /dev/shm/data
}

discard()
{
	cat /sys/block/vda/queue/discard_max_bytes /sys/block/vda/queue/write_zeroes_max_bytes
}

rng()
{
	cat /sys/class/misc/hw_random/rng_current
	dd if=/dev/hwrng bs=512 count=8 2> /dev/null | sha256sum
}

# Takes a driver away and loads it again.
reload()
{
	modprobe -r "$1"	# busybox's status also speaks of what the module needs
	grep -q "^$1 " /proc/modules && echo "$1 is still there" && return 1
	modprobe "$1" || return
	if [ "$1" = virtio_net ]; then
		ip link set eth0 up && ip address add 10.0.0.2/24 dev eth0 && ping_host 2
	elif [ "$1" = virtio_blk ]; then
		dd if=/dev/vda bs=1M count=1 iflag=direct 2> /dev/null | sha256sum
	else
		rng
	fi
}

# Says what comes by DHCP, and takes it.
dhcp()
{
	cat > /udhcpc <<'SCRIPT'
#!/bin/sh
[ "$1" = bound ] || exit 0
echo "lease of $ip/$mask from $serverid"
ip address add "$ip/$mask" dev "$interface"
SCRIPT
	chmod 755 /udhcpc
	ip link set eth0 up
	udhcpc -i eth0 -s /udhcpc -n -q -t 10 -T 2
	ip address show dev eth0
}

# What the host serves by HTTP at port $1.
fetch()
{
	wget -q -O - "http://$host:$1/$2" | md5sum
}

# So many MiB ($2) to who connects to port $1, and answers with a line. By itself nc would write a KiB at a time.
serve()
{
	dd if=/dev/urandom of=/dev/shm/served bs=1M count=1 2> /dev/null
	# shellcheck disable=SC2016	# expanded later
	echo 'for n in $(seq "$1"); do cat /dev/shm/served; done; read -r _' > /dev/shm/serve
	echo | sh /dev/shm/serve "$2" | md5sum
	echo "serving"
	nc -l -p "$1" -e sh /dev/shm/serve "$2"
	rm /dev/shm/serve*
}

# Asks the name server $1.
look_up()
{
	nslookup "$2" "$1"
}

# Waits for the power button, as a machine's own software would.
power_button()
{
	local input
	modprobe button
	modprobe evdev
	for input in /sys/class/input/event*; do
		if grep -q 'Power Button' "$input/device/name"; then
			# An event is for those who have the device open by then.
			exec 3< "/dev/input/${input##*/}"
			echo "waiting for the power button"
			head -c 24 <&3 > /dev/null && echo "pressed"
			return
		fi
	done
	echo "no power button"
	return 1
}

# Counts the boots in the first sector of the disk, and reboots while they are less than $1.
reboots()
{
	local n
	n=$(dd if=/dev/vda bs=512 count=1 2> /dev/null | tr -d '\0')
	n=$((${n:-0} + 1))
	printf '%s' "$n" | dd of=/dev/vda bs=512 conv=sync,fsync 2> /dev/null
	echo "boot $n of $1"
	[ "$n" -ge "$1" ] || { sync; reboot -f; sleep 60; }
}

# The kernel's messages of the levels warning and worse.
complaints()
{
	dmesg -r | sed -n 's/^<[0-4]>//p'
}

if [ -e /nic_checks ]; then
	# shellcheck source=tests/vm/nic_checks.sh
	. /nic_checks
fi
skip=	# of a guest that has started again: what it did before
case "$*" in
*restart*) ! has_restarted || skip=1 ;;
esac
for word in "$@"; do
	name=${word%%:*} argument=
	[ "$name" = "$word" ] || argument=${word#*:}
	[ "$name" != restart ] || skip=
	[ -z "$skip" ] || continue
	echo "vireo-check: begin $word"
	IFS=,
	# shellcheck disable=SC2086	# may be several
	set -- $argument
	unset IFS
	"$name" "$@" 2>&1
	status=$?
	read -r up _ < /proc/uptime
	echo "vireo-check: end $word status=$status uptime=$up"
done
